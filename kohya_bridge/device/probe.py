"""`python -m kohya_bridge.device.probe`: the device of this interpreter's torch, and how fast its number formats are.

In: nothing. Out: one line of JSON, a `Device`. What the table of `precision` knows is not measured; with `--measure` it is all the
same. It works for well under a second beside the import of torch, and runs in any interpreter that has one: ours or sd-scripts'.
"""

from __future__ import annotations

import importlib
import math
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .. import json_text
from .accelerator import Accelerator
from .description import CPU, Device
from .precision import BF16, FP16, verdict

# Edge of the product; batch, channels and edge of the convolution. On a CPU small enough that plain loops take a tenth of a
# second on one thread.
SIZES_ON_A_CPU, SIZES_ON_A_GPU = (256, (1, 64, 16)), (2048, (4, 320, 32))
ENOUGH_S, LEAST_TIMES, MOST_TIMES = 0.05, 3, 20


def examine(torch: Any, *, measure: bool = False) -> Device:
    """The device that this torch computes on, with measured times where nothing else tells its formats apart."""
    accelerator = Accelerator.find(torch)
    device = accelerator.describe()
    if measure or verdict(device) is None:
        device = replace(device, slower=measured(accelerator))
    return device


def measured(accelerator: Accelerator) -> dict[str, float]:
    """Format to its time as a multiple of fp32's: the geometric mean of a matrix product and a 3x3 convolution.

    A processor is measured on one thread and in the processor time of that thread, so that a busy machine counts as an idle one.
    """
    torch = accelerator.torch
    threads = torch.get_num_threads()
    if accelerator.kind == CPU:
        torch.set_num_threads(1)
    full = _seconds(accelerator, torch.float32)
    halves = {BF16: torch.bfloat16, FP16: torch.float16}
    found = {name: _ratio(accelerator, dtype, full) for name, dtype in halves.items()}
    torch.set_num_threads(threads)
    return found


def _ratio(accelerator: Accelerator, dtype: Any, full: tuple[float, float]) -> float:
    try:
        half = _seconds(accelerator, dtype)
    except (RuntimeError, TypeError):  # torch's words for a format that a device does not have
        return math.inf
    ratios = [theirs / ours for theirs, ours in zip(half, full, strict=True)]
    return round(math.prod(ratios) ** (1 / len(ratios)), 2)


def _seconds(accelerator: Accelerator, dtype: Any) -> tuple[float, float]:
    """Of a product and of a convolution in that format."""
    torch, on = accelerator.torch, accelerator.type
    edge, (batch, channels, side) = SIZES_ON_A_CPU if accelerator.kind == CPU else SIZES_ON_A_GPU
    with torch.no_grad():
        left = torch.ones(edge, edge, device=on, dtype=dtype)
        weight = torch.ones(channels, channels, 3, 3, device=on, dtype=dtype)
        picture = torch.ones(batch, channels, side, side, device=on, dtype=dtype)
        return (
            _quickest(accelerator, lambda: left @ left),
            _quickest(accelerator, lambda: torch.nn.functional.conv2d(picture, weight, padding=1)),
        )


def _quickest(accelerator: Accelerator, work: Callable[[], Any]) -> float:
    """The shortest of several times; the first, which warms up, counts only where it took long already."""
    clock = time.process_time if accelerator.kind == CPU else time.perf_counter
    taken: list[float] = []
    while len(taken) < MOST_TIMES and (len(taken) < LEAST_TIMES or sum(taken) < ENOUGH_S):
        accelerator.synchronise()
        started = clock()
        work()
        accelerator.synchronise()
        taken.append(max(clock() - started, 1e-7))
        if taken[0] >= ENOUGH_S:
            return taken[0]
    return min(taken[1:])


if __name__ == "__main__":
    found = examine(importlib.import_module("torch"), measure="--measure" in sys.argv[1:])
    print("\n" + json_text.write(found.to_json()), flush=True)
