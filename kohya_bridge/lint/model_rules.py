"""Rules that need a model to look at the pictures. One function each; `catalogue.py` lists them.

Where no model looked they say nothing here; the report's notes say which model is missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from statistics import median

import numpy as np

from .duplicate_rules import near_pairs
from .finding import Examined, Hit

LEAST_SET = 6
_SAID = re.compile(
    r"\b(text|words?|letters?|lettering|writing|sign|signs|logo|watermark|caption|title|label)\b"
)


def words_in_picture(seen: Examined) -> Iterator[Hit]:
    """Words that can be read in a picture and that its caption does not mention."""
    for item in seen.items:
        words = seen.looks[item.name].words if item.name in seen.looks else None
        if words and not _SAID.search(item.caption.lower()):
            said = ", ".join(repr(word[:40]) for word in words[:3])
            yield Hit(
                item.name, f"There are words in the picture: {said}{' and more' if len(words) > 3 else ''}."
            )


def nudity_above_rating(seen: Examined) -> Iterator[Hit]:
    """A picture that looks more revealing than the dataset's rating allows."""
    rating = seen.dataset.metadata.rating
    limit = {"sfw": seen.settings.max_nudity_sfw, "suggestive": seen.settings.max_nudity_suggestive}.get(
        rating, 1.0
    )
    for item in seen.items:
        nudity = seen.looks[item.name].nudity if item.name in seen.looks else None
        if nudity is not None and nudity > limit:
            yield Hit(item.name, f"A model finds nudity in it with {nudity:.0%} certainty; the dataset is rated {rating}, which allows {limit:.0%}.")  # fmt: skip


def same_to_a_model(seen: Examined) -> Iterator[Hit]:
    """Pictures that an image encoder can hardly tell apart, such as another crop of the same picture."""
    names, vectors = _vectors(seen)
    if len(names) < 2:
        return
    known = {frozenset(pair[:2]) for pair in near_pairs(seen)}
    alike = vectors @ vectors.T
    told = set()
    for first, second in np.argwhere(np.triu(alike >= seen.settings.same_likeness, k=1)):
        one, other = names[first], names[second]
        if other not in told and frozenset((one, other)) not in known:
            told.add(other)
            yield Hit(other, f"To a model it is {alike[first, second]:.1%} the same as {one}, perhaps another crop of it.")  # fmt: skip


def unlike_the_others(seen: Examined) -> Iterator[Hit]:
    """A picture that shares little with the rest of the set."""
    names, vectors = _vectors(seen)
    if len(names) < LEAST_SET:
        return
    alike = vectors @ vectors.T
    to_others = (alike.sum(axis=1) - np.diag(alike)) / (len(names) - 1)
    typical = median(to_others.tolist())
    for name, likeness in zip(names, to_others, strict=True):
        if likeness < typical * seen.settings.unlike_share:
            yield Hit(name, f"It is {likeness:.0%} like the other pictures; half of them are above {typical:.0%}.")  # fmt: skip


def _vectors(seen: Examined) -> tuple[list[str], np.ndarray]:
    """Names and unit vectors (N, D) of the pictures that an encoder saw."""
    found = [(name, looks.vector) for name, looks in seen.looks.items() if looks.vector is not None]
    vectors = np.stack([vector for _, vector in found]) if found else np.zeros((0, 1), np.float32)
    return [name for name, _ in found], vectors
