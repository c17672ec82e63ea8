"""Rules about single pictures and about pictures beside each other (E2xx). One function each; `catalogue.py` lists them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from .finding import Examined, Hit

_REASONS = {
    "empty": "The file is empty (0 bytes).",
    "huge": "The file is larger than 512 MiB and was not opened.",
    "bomb": "The picture would unpack to more than 100 million pixels and was not opened.",
    "truncated": "The file is cut off: part of the picture is missing.",
    "unreadable": "The file can't be decoded as a picture.",
}


def unreadable(seen: Examined) -> Iterator[Hit]:
    """A file that does not decode to its last pixel."""
    for item in seen.items:
        facts = seen.facts[item.name]
        if not facts.readable:
            yield Hit(item.name, _REASONS[facts.reason])


def too_small(seen: Examined) -> Iterator[Hit]:
    """A shortest side below the minimum."""
    for item, facts in seen.readable():
        side = min(facts.width, facts.height)
        if side < seen.settings.min_side:
            yield Hit(item.name, f"It is {facts.width} x {facts.height} px; the shortest side must be {seen.settings.min_side} px.")  # fmt: skip


def odd_aspect(seen: Examined) -> Iterator[Hit]:
    """A very long or very wide picture."""
    for item, facts in seen.readable():
        aspect = max(facts.width, facts.height) / min(facts.width, facts.height)
        if aspect > seen.settings.max_aspect:
            yield Hit(item.name, f"It is {facts.width} x {facts.height} px, {aspect:.1f} to 1; a bucket crops away its ends.")  # fmt: skip


def same_picture(seen: Examined) -> Iterator[Hit]:
    """Exactly the same pixels under two names."""
    by_pixels = defaultdict(list)
    for item, facts in seen.readable():
        by_pixels[facts.pixels].append(item.name)
    for names in by_pixels.values():
        for name in names[1:]:
            yield Hit(name, f"It shows exactly the same picture as {names[0]}.")


def nearly_the_same(seen: Examined) -> Iterator[Hit]:
    """Pictures that differ by scale, compression or a mirror only."""
    known = [(item.name, facts) for item, facts in seen.readable()]
    if len(known) < 2:
        return
    straight, mirrored = _bits([f.dhash for _, f in known]), _bits([f.mirrored_dhash for _, f in known])
    for other, word in ((straight, "nearly the same as"), (mirrored, "nearly the mirror image of")):
        close = np.argwhere(np.triu(_differing(straight, other), 1) <= seen.settings.near_duplicate_bits)
        told = set()
        for first, second in close:
            same = known[first][1].pixels == known[second][1].pixels
            if second > first and second not in told and not same:
                told.add(second)
                yield Hit(known[second][0], f"It is {word} {known[first][0]}.")


def _bits(hashes: list[str]) -> np.ndarray:
    raw = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(hashes), -1)
    return np.unpackbits(raw, axis=1).astype(np.float32)


def _differing(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Hamming distances (N, N) as two matrix products; pairs on and below the diagonal are set out of reach."""
    distances = one @ (1 - other).T + (1 - one) @ other.T
    return distances + np.tril(np.full(distances.shape, 1e6, np.float32))
