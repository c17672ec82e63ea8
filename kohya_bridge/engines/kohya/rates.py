"""Learning rates by name, as upstream's own log names them.

In: the prepared scheduler, the optimizer, and the descriptions that the network gave its parameter groups. Out:
`{"unet": 1e-4, ...}` for the progress event. For optimisers that find their own rate (`d` in their groups) also `d*lr/...`.
"""

from __future__ import annotations

from typing import Any


def learning_rates(
    scheduler: Any, optimizer: Any, *, descriptions: list[str] | None, unet_only: bool
) -> dict[str, float]:
    rates: dict[str, float] = {}
    last = scheduler.get_last_lr()
    groups = getattr(optimizer, "param_groups", [])
    for index, rate in enumerate(last):
        name = _name(index, len(last), descriptions, unet_only)
        rates[name] = float(rate)
        if index < len(groups) and "d" in groups[index]:
            rates[f"d*lr/{name}"] = float(groups[index]["d"]) * float(groups[index]["lr"])
    return rates


def _name(index: int, count: int, descriptions: list[str] | None, unet_only: bool) -> str:
    if descriptions:
        return descriptions[index]
    position = index if unet_only else index - 1
    if position == -1:
        return "textencoder"
    return f"group{position}" if count > 2 else "unet"
