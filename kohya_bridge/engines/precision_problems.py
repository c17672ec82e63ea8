"""What stands against a number format that a person names: it can't be had here, or it costs time.

In: the plan's `mixed_precision` and the device. Out: problems. Both engines ask it; what `auto` became is never objected to.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..device.description import Device
from ..device.precision import settled
from .contract import Problem


def precision_problems(name: str, device: Device, measure: Callable[[], Device]) -> list[Problem]:
    """An obstacle, or advice that names the factor. `measure` times the formats, and is called only where nothing else tells it."""
    known = settled(device)
    fix = f"Set mixed_precision to auto: here that is {known.best}."
    if name in known.impossible:
        return [Problem("precision", f"mixed_precision is {name}, and {known.impossible[name]}.", fix)]
    if name not in known.slower:
        return []
    factor = known.slower[name] or measure().slower.get(name)
    if factor is not None and math.isinf(factor):
        return [
            Problem("precision", f"mixed_precision is {name}, and torch refuses it on {device.name}.", fix)
        ]
    cost = "much longer than" if factor is None else f"about {_rounded(factor)} times as long as"
    problem = (
        f"mixed_precision is {name}, for which this device has no arithmetic: a step may take {cost} in fp32."
    )
    return [Problem("precision_slow", problem, fix, blocks=False)]


def _rounded(factor: float) -> str:
    return f"{factor:.0f}" if factor >= 3 else f"{factor:.1f}"
