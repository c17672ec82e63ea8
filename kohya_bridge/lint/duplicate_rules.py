"""Rules about pictures beside each other (23x): the same, nearly the same, on both sides of the split.

One function each; `catalogue.py` lists them. Near means few differing bits in a 256-bit difference hash, however the
picture is turned or mirrored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from ..datasets.held_out_split import held_out_names
from ..datasets.picture_statistics import TURNS
from .finding import Examined, Hit


def same_picture(seen: Examined) -> Iterator[Hit]:
    """Exactly the same pixels under two names."""
    by_pixels = defaultdict(list)
    for item, facts in seen.readable():
        if facts.pixels:
            by_pixels[facts.pixels].append(item.name)
    for names in by_pixels.values():
        for name in names[1:]:
            yield Hit(name, f"It shows exactly the same picture as {names[0]}.")


def nearly_the_same(seen: Examined) -> Iterator[Hit]:
    """Pictures that differ by scale, compression, a mirror or a turn only."""
    told = set()
    for first, second, how in near_pairs(seen):
        same = seen.facts[first].pixels and seen.facts[first].pixels == seen.facts[second].pixels
        if second not in told and not same:
            told.add(second)
            yield Hit(second, f"It {how.format(first)}.")


def leaked(seen: Examined) -> Iterator[Hit]:
    """A held-out picture whose twin is trained."""
    held_out = held_out_names(
        [item.name for item in seen.items],
        share=seen.training.validation_split,
        seed=seen.training.validation_seed,
    )
    told = set()
    for first, second, _ in near_pairs(seen):
        if (first in held_out) != (second in held_out):
            name, twin = (first, second) if first in held_out else (second, first)
            if name not in told:
                told.add(name)
                yield Hit(
                    name, f"It is held out to measure training, and {twin}, nearly the same, is trained."
                )


def near_pairs(seen: Examined) -> list[tuple[str, str, str]]:
    """`(name, later name, what the later one is to it)` of every pair that looks alike, in name order."""
    known = [(item.name, facts) for item, facts in seen.readable()]
    if len(known) < 2:
        return []
    laid = [_bits([facts.dhashes[number] for _, facts in known]) for number in range(len(TURNS))]
    pairs: dict[tuple[int, int], str] = {}
    for how, turned in zip(TURNS, laid, strict=True):
        # the earlier picture, turned, is the later one as it is
        close = np.argwhere(_differing(turned, laid[0]) <= seen.settings.near_duplicate_bits)
        for a, b in close:
            if a < b:
                pairs.setdefault((int(a), int(b)), how)
    return [(known[a][0], known[b][0], how) for (a, b), how in sorted(pairs.items())]


def _bits(hashes: list[str]) -> np.ndarray:
    raw = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(hashes), -1)
    return np.unpackbits(raw, axis=1).astype(np.float32)


def _differing(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Hamming distances (N, N), as two matrix products."""
    distances: np.ndarray = one @ (1 - other).T + (1 - one) @ other.T
    return distances
