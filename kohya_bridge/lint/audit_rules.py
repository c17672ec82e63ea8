"""Rules about all captions together (12x): what fuses with the trigger, what is said the same, what is said two ways.

One function each; `catalogue.py` lists them. Tags are the comma-separated parts of a caption, in lower case.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from ..counted import counted
from .finding import Examined, Hit

ROWS_AT_ONCE = 512
MOST_WORDS = 8
"""Of a tag that is looked for at the end of others; longer ones are sentences."""
SYNONYMS = (
    ("smile", "smiling"), ("laughing", "laugh"), ("glasses", "eyeglasses", "spectacles"),
    ("close-up", "closeup", "close up"), ("grey hair", "gray hair"), ("t-shirt", "tshirt", "tee"),
    ("blonde hair", "blond hair", "yellow hair"), ("red hair", "ginger hair", "copper hair", "orange hair"),
    ("standing", "stands"), ("sitting", "seated", "sits"), ("outdoors", "outside"), ("indoors", "inside"),
    ("white background", "plain white background"), ("bob cut", "bob"), ("twintails", "twin tails", "pigtails"),
)  # fmt: skip
PROSE_WORDS = {
    "a",
    "an",
    "the",
    "with",
    "is",
    "are",
    "of",
    "in",
    "on",
    "and",
    "wearing",
    "while",
    "her",
    "his",
    "their",
}


def fused(seen: Examined) -> Iterator[Hit]:
    """Words that stand in nearly every caption beside the trigger."""
    yield from _common(seen, seen.settings.fused_share, 1.01)


def often_said(seen: Examined) -> Iterator[Hit]:
    """Words that stand in most captions."""
    yield from _common(seen, seen.settings.common_share, seen.settings.fused_share)


def half_absorbed(seen: Examined) -> Iterator[Hit]:
    """A trait that is meant to be absorbed and is captioned now and then."""
    tags, total = _tag_counts(seen), sum(1 for _ in seen.captioned())
    for word in seen.dataset.metadata.absorb:
        count = tags[word.lower()]
        if 0 < count < total:
            yield Hit(
                "",
                f"{word!r} is meant to be absorbed (`absorb` in metadata.yaml), and stands in {count} of {counted(total, 'caption')}.",
            )


def class_word_missing(seen: Examined) -> Iterator[Hit]:
    """A caption without the class word."""
    word = seen.dataset.metadata.class_word.lower()
    for item in seen.captioned():
        if word and not re.search(rf"(?<![a-z0-9]){re.escape(word)}(?![a-z0-9])", item.caption.lower()):
            yield Hit(item.name, f"The caption does not say the class word {word!r}.")


def same_caption(seen: Examined) -> Iterator[Hit]:
    """Two pictures with one caption."""
    groups = defaultdict(list)
    for item in seen.captioned():
        groups[frozenset(_tags(item.caption))].append(item.name)
    for names in groups.values():
        for name in names[1:]:
            yield Hit(name, f"It has the same caption as {names[0]}.")


def nearly_same_caption(seen: Examined) -> Iterator[Hit]:
    """Two long captions that differ in a word or two."""
    names = [item.name for item in seen.captioned()]
    words = [frozenset(re.findall(r"[a-z0-9']+", item.caption.lower())) for item in seen.captioned()]
    held = _held(words)
    sizes = held.sum(axis=1)
    for at in range(0, len(names), ROWS_AT_ONCE):
        shared = held[at : at + ROWS_AT_ONCE] @ held.T
        alike = shared / np.maximum(1, sizes[at : at + ROWS_AT_ONCE, None] + sizes[None, :] - shared)
        for row, shares in enumerate(alike, start=at):
            close = np.flatnonzero(shares[:row] >= seen.settings.near_caption_share)
            other = next((index for index in close if words[index] != words[row]), None)
            if other is not None:
                yield Hit(names[row], f"Its caption shares {shares[other]:.0%} of its words with that of {names[other]}.")  # fmt: skip


def _held(sets: Sequence[frozenset[str]]) -> np.ndarray:
    """Which caption holds which word, (captions, words), 0 or 1: overlaps of all pairs are then one product."""
    columns = {word: column for column, word in enumerate(sorted(frozenset().union(*sets)))}
    held = np.zeros((len(sets), max(1, len(columns))), np.float32)
    for row, words in enumerate(sets):
        held[row, [columns[word] for word in words]] = 1
    return held


def few_words(seen: Examined) -> Iterator[Hit]:
    """Little variety over the whole set."""
    counts = _tag_counts(seen)
    total = sum(counts.values())
    distinct = len(counts)
    pictures = sum(1 for _ in seen.captioned())
    if pictures >= seen.settings.min_pictures and distinct < seen.settings.min_distinct_tags:
        yield Hit("", f"All captions together use {counted(distinct, 'different tag')} ({total} in all).")


def two_spellings(seen: Examined) -> Iterator[Hit]:
    """One thing written in two ways."""
    counts = _tag_counts(seen)
    forms = defaultdict(set)
    for tag in counts:
        forms[re.sub(r"[\s_\-]+", "", tag.removesuffix("s"))].add(tag)
    groups = [sorted(found) for found in forms.values()]
    groups += [sorted(set(words) & set(counts)) for words in SYNONYMS]
    for found in groups:
        if len(found) > 1:
            said = ", ".join(f"{tag!r} ({counts[tag]})" for tag in found)
            yield Hit("", f"The same thing is written in several ways: {said}.")


def two_styles(seen: Examined) -> Iterator[Hit]:
    """Tags in some captions, sentences in others."""
    prose = [item.name for item in seen.captioned() if _is_prose(item.caption)]
    total = sum(1 for _ in seen.captioned())
    if 0 < len(prose) < total:
        fewer = (
            prose
            if len(prose) * 2 <= total
            else [i.name for i in seen.captioned() if i.name not in set(prose)]
        )
        yield Hit(
            "",
            f"{counted(len(prose), 'caption is a sentence', 'captions are sentences')} and {counted(total - len(prose), 'is a list', 'are lists')} of tags, such as {fewer[0]}.",
        )


def contained_tag(seen: Examined) -> Iterator[Hit]:
    """A tag that another tag of the same caption says already."""
    for item in seen.captioned():
        found = _said_again(_tags(item.caption))
        if found and not _is_prose(item.caption):
            yield Hit(item.name, f"{found[0]!r} is said again by {found[1]!r}.")


def _said_again(tags: Sequence[str]) -> tuple[str, str] | None:
    """The first tag with which another one of the same caption ends, and that other one."""
    ends: dict[str, str] = {}
    for tag in tags:
        words = tag.rsplit(" ", MOST_WORDS)
        for count in range(1, len(words)):
            ends.setdefault(" ".join(words[-count:]), tag)
    return next(((tag, ends[tag]) for tag in tags if len(tag) > 3 and tag in ends), None)


def _common(seen: Examined, least: float, below: float) -> Iterator[Hit]:
    total = sum(1 for _ in seen.captioned())
    metadata = seen.dataset.metadata
    meant = {seen.trigger.lower(), metadata.class_word.lower(), *(word.lower() for word in metadata.absorb)}
    if total < 4:
        return
    ties = "may be" if below <= seen.settings.fused_share else "will be"
    for tag, count in _tag_counts(seen).most_common():
        if tag not in meant and least <= count / total < below:
            yield Hit("", f"{tag!r} stands in {count} of {counted(total, 'caption')}, and {ties} tied to the trigger.", f"Leave it out of all captions, or list it under `absorb` in metadata.yaml if that is meant: `- {tag}`")  # fmt: skip


def _tag_counts(seen: Examined) -> Counter[str]:
    """In how many captions each tag stands; sentences count by their clauses."""
    return Counter(tag for item in seen.captioned() for tag in dict.fromkeys(_tags(item.caption)))


def _tags(caption: str) -> list[str]:
    return [tag for tag in (re.sub(r"\s+", " ", part).strip(" .").lower() for part in re.split(r"[,\n]", caption)) if tag]  # fmt: skip


def _is_prose(caption: str) -> bool:
    words = re.findall(r"[a-z]+", caption.lower())
    return len(words) >= 6 and sum(word in PROSE_WORDS for word in words) / len(words) >= 0.15
