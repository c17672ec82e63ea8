"""Numbers on their way from the device to the events, and where a step's time goes.

In: each step's loss and gradient norm, still on the device. Out: one `progress` event for every step, without the loop
ever waiting for the device: a GPU's numbers travel beside its work and are told at most `LAG` steps later.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from ...device.accelerator import Accelerator
from ..child import EXIT_NOT_FINITE, ChildFailure

LAG = 2  # steps; also bounds how far the host may run ahead, so that times and controls stay true


@dataclass(frozen=True)
class _Sent:
    step: int
    epoch: int
    rates: dict[str, float]
    numbers_2: torch.Tensor
    arrived: Any


class Meter:
    """Tells of every step in order. A loss or gradient that is not a number ends the run at once."""

    def __init__(self, report: Any, device: torch.device, *, check_norm: bool = True):
        self.report, self.check_norm = report, check_norm
        self.accelerator = Accelerator.of(torch, device)
        self._under_way: deque[_Sent] = deque()

    def put(
        self, step: int, loss: torch.Tensor, norm: torch.Tensor, *, epoch: int, rates: dict[str, float]
    ) -> None:
        """Take the numbers of optimizer step `step`."""
        numbers_2, arrived = torch.stack((loss, norm)), self.accelerator.event()
        if arrived is not None:
            numbers_2 = torch.empty(2, pin_memory=True).copy_(numbers_2, non_blocking=True)
            arrived.record()
        self._under_way.append(_Sent(step, epoch, rates, numbers_2, arrived))
        while self._under_way and (
            arrived is None or len(self._under_way) > LAG or self._under_way[0].arrived.query()
        ):
            self._tell(self._under_way.popleft())

    def flush(self) -> None:
        """Tell of everything that is under way."""
        while self._under_way:
            self._tell(self._under_way.popleft())

    def _tell(self, sent: _Sent) -> None:
        if sent.arrived is not None:
            sent.arrived.synchronize()
        loss, norm = sent.numbers_2.tolist()
        vram_gib = self.accelerator.reserved_gib()
        self.report.progress(sent.step, loss=loss, epoch=sent.epoch, lr=sent.rates, vram_gib=vram_gib)
        if not math.isfinite(loss) or (self.check_norm and not math.isfinite(norm)):
            what = "loss" if not math.isfinite(loss) else "gradient"
            raise not_finite(
                f"The {what} at step {sent.step} is not a number ({loss if what == 'loss' else norm})."
            )


def not_finite(problem: str) -> ChildFailure:
    """The end of a run whose numbers broke; the last state on disk is from before."""
    return ChildFailure(
        problem,
        "Lower the learning rate or use bf16; the last saved state is intact.",
        exit_code=EXIT_NOT_FINITE,
        code="not_finite",
    )


@dataclass
class Clock:
    """Where a run's time goes. The first step, which warms everything up, is kept apart.

    `synchronise` makes a GPU's times true, and the loop slower: for measuring only.
    """

    synchronise: bool = False
    started: float = field(default_factory=time.time)
    first_step_s: float | None = None
    """From the clock's start to the end of the first step."""
    step_seconds: list[float] = field(default_factory=list)
    part_seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the block's time under `name`."""
        started = time.perf_counter()
        yield
        if self.synchronise:
            Accelerator.find(torch).synchronise()
        self.part_seconds[name] = self.part_seconds.get(name, 0.0) + time.perf_counter() - started

    @contextmanager
    def step(self) -> Iterator[None]:
        """One optimizer step; its parts are counted inside."""
        started = time.perf_counter()
        yield
        if self.first_step_s is None:
            self.first_step_s = time.time() - self.started
            self.part_seconds.clear()
        else:
            self.step_seconds.append(time.perf_counter() - started)

    def to_json(self) -> dict[str, Any]:
        """Seconds per step (median, fastest and mean), its parts and what no part accounts for (means), all in seconds."""
        steps = len(self.step_seconds)
        if not steps:
            return {"steps": 0, "first_step_s": self.first_step_s}
        mean = sum(self.step_seconds) / steps
        parts = {name: spent / steps for name, spent in self.part_seconds.items()}
        return {
            "steps": steps,
            "first_step_s": self.first_step_s,
            "median": statistics.median(self.step_seconds),
            "fastest": min(self.step_seconds),
            "mean": mean,
            "parts": {**parts, "rest": mean - sum(parts.values())},
        }

    def __str__(self) -> str:
        """One line for the log."""
        told = self.to_json()
        if not told["steps"]:
            return "no step was timed"
        split = ", ".join(
            f"{name} {spent:.4f} s ({spent / told['mean']:.1%})" for name, spent in told["parts"].items()
        )
        return f"{told['steps']} steps, {told['median']:.4f} s each (median): {split}"
