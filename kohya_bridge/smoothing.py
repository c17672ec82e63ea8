"""The smoothed loss: an exponential average over about the last 50 steps, without the weight of its beginning.

A single diffusion loss is mostly the luck of its timestep. An average that starts at the first loss is that luck for its first
hundred steps, so the weights of the losses that are there are made to sum to one (Kingma and Ba 2015, section 3). Reader and writer
use this; its twin is `web/js/smoothing.js`, and products instead of powers keep both equal to the bit. Standard library only.
"""

from __future__ import annotations

import itertools
import math
import operator
from dataclasses import dataclass
from typing import Any

DECAY = 0.98
_SETTLED = 2000
"""Losses after which the beginning counts for nothing: 0.98 to that power is below what a float tells apart from zero beside one."""
_WEIGHTS = [
    (1 - DECAY) / (1 - left) for left in itertools.accumulate(itertools.repeat(DECAY, _SETTLED), operator.mul)
]


@dataclass(frozen=True)
class Smoothed:
    """The average of `count` losses; None of none."""

    average: float | None = None
    count: int = 0

    def after(self, loss: Any) -> Smoothed:
        """With one more; what is no finite number leaves it as it is."""
        if isinstance(loss, bool) or not isinstance(loss, (int, float)) or not math.isfinite(loss):
            return self
        if self.average is None or self.count == 0:
            return Smoothed(float(loss), 1)
        weight = _WEIGHTS[min(self.count, _SETTLED - 1)]
        return Smoothed(self.average + weight * (loss - self.average), self.count + 1)

    def before(self, undone: int, average: float | None) -> Smoothed:
        """Without the newest `undone`, when it was `average`."""
        count = max(0, self.count - undone)
        return Smoothed(average, count) if count else Smoothed()
