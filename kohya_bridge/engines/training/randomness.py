"""Counter-based randomness: whatever a step draws is a pure function of (seed, purpose, step, index).

In: those four numbers. Out: a numpy generator that nobody else draws from. So a resumed run needs no saved generator,
and neither workers nor prefetching can change what a step sees. Philox is the counter-based generator of Salmon et al.,
"Parallel random numbers: as easy as 1, 2, 3" (2011).
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a draw is for; each purpose has its own stream. Numbers are part of every run's result: never reuse one."""

    ORDER_IN_BUCKET = 1
    ORDER_OF_BATCHES = 2
    FLIP = 3
    CAPTION = 4
    TIMESTEP = 5
    NOISE = 6
    DROPOUT = 7
    HELD_OUT_NOISE = 8
    SAMPLE = 9


def stream(seed: int, purpose: Purpose, step: int = 0, index: int = 0) -> np.random.Generator:
    """The generator of that step and index. The lowest counter word stays 0: it counts the draws themselves."""
    return np.random.Generator(np.random.Philox(key=[seed, int(purpose)], counter=[0, index, step, 0]))


def seed_of(seed: int, purpose: Purpose, step: int = 0, index: int = 0) -> int:
    """A 63-bit seed from that stream, for a library that brings its own generator."""
    return int(stream(seed, purpose, step, index).integers(0, 2**63 - 1))
