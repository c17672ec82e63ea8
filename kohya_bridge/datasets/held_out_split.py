"""Which pictures are held out of training to measure it: one rule for every engine, so that their numbers compare.

In: file names, a share, a seed. Out: the names that are held out. A picture's place depends on its own name and the seed
alone, so adding a picture to the dataset moves few others. Standard library only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def held_out_names(names: Sequence[str], *, share: float, seed: int) -> frozenset[str]:
    """The names to hold out: `share` of them rounded, at least one and never all. None for a share of 0 or one picture."""
    if share <= 0 or len(names) < 2:
        return frozenset()
    count = min(len(names) - 1, max(1, round(len(names) * share)))
    return frozenset(sorted(names, key=lambda name: _rank(name, seed))[:count])


def probe_names(names: Sequence[str], held_out: frozenset[str], *, seed: int) -> tuple[str, ...]:
    """As many trained names as there are held-out ones, for the same measure on both sides of the split."""
    trained = sorted((name for name in names if name not in held_out), key=lambda name: _rank(name, seed))
    return tuple(trained[: len(held_out)])


def _rank(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}|{name}".encode()).hexdigest()
