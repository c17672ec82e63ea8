"""Rules about pictures beside each other (23x): the same, nearly the same, on both sides of the split.

One function each; `catalogue.py` lists them. Near means few differing bits in a 256-bit difference hash, straight or mirrored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from ..datasets.held_out_split import held_out_names
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
    """Pictures that differ by scale, compression or a mirror only."""
    told = set()
    for first, second, mirrored in near_pairs(seen):
        same = seen.facts[first].pixels and seen.facts[first].pixels == seen.facts[second].pixels
        if second not in told and not same:
            told.add(second)
            yield Hit(second, f"It is nearly {'the mirror image of' if mirrored else 'the same as'} {first}.")


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


def near_pairs(seen: Examined) -> list[tuple[str, str, bool]]:
    """`(name, later name, whether mirrored)` of every pair that looks alike, in name order."""
    known = [(item.name, facts) for item, facts in seen.readable()]
    if len(known) < 2:
        return []
    straight, mirrored = _bits([f.dhash for _, f in known]), _bits([f.mirrored_dhash for _, f in known])
    pairs = []
    for other, is_mirrored in ((straight, False), (mirrored, True)):
        close = np.argwhere(_differing(straight, other) <= seen.settings.near_duplicate_bits)
        pairs += [(int(a), int(b), is_mirrored) for a, b in close if a < b]
    pairs.sort()
    return [(known[a][0], known[b][0], is_mirrored) for a, b, is_mirrored in pairs]


def _bits(hashes: list[str]) -> np.ndarray:
    raw = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(hashes), -1)
    return np.unpackbits(raw, axis=1).astype(np.float32)


def _differing(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Hamming distances (N, N), as two matrix products."""
    distances: np.ndarray = one @ (1 - other).T + (1 - one) @ other.T
    return distances
