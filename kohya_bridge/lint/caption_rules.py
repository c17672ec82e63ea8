"""Rules about captions and the trigger in them (E1xx, E4xx). One function each; `catalogue.py` lists them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..captions import plain_caption
from ..character_options import TRIGGER
from .finding import Examined, Hit


def empty_caption(seen: Examined) -> Iterator[Hit]:
    """A caption is there and says nothing."""
    for item in seen.items:
        if item.source and not item.caption.strip() and not _explained(seen, item.source):
            yield Hit(item.name, f"The caption in {item.source} is empty.")


def missing_caption(seen: Examined) -> Iterator[Hit]:
    """A picture without any caption."""
    for item in seen.items:
        if not item.source:
            yield Hit(item.name, "There is no caption for this picture.")


def not_utf8(seen: Examined) -> Iterator[Hit]:
    """Text in another encoding."""
    for subject, where in seen.problems("caption_not_utf8"):
        yield Hit(subject, f"The caption is not UTF-8 text ({where}).")


def byte_order_mark(seen: Examined) -> Iterator[Hit]:
    """An invisible character before the first word."""
    for subject, _ in seen.problems("caption_bom", "captions_bom"):
        yield Hit(subject, "The file begins with a byte order mark, an invisible character.")


def several_lines(seen: Examined) -> Iterator[Hit]:
    """Text after the first line."""
    for subject, _ in seen.problems("caption_multiline"):
        yield Hit(subject, "The caption has several lines; only the first is trained.")
    for item in seen.captioned():
        if item.row and "\n" in item.caption.strip():
            yield Hit(item.name, "The caption has several lines; only the first is trained.")


def bad_row(seen: Examined) -> Iterator[Hit]:
    """A line of captions.jsonl that can't be used."""
    for subject, why in seen.problems("captions_bad_row"):
        yield Hit(subject, f"The line can't be used: {why}.")
    for subject, _ in seen.problems("captions_huge"):
        yield Hit(subject, "The file is larger than 64 MiB and was not read.")


def row_twice(seen: Examined) -> Iterator[Hit]:
    """Two captions for one picture."""
    for subject, _ in seen.problems("row_twice"):
        yield Hit(subject, "captions.jsonl has more than one line for this picture; the first one counts.")


def absurd_caption(seen: Examined) -> Iterator[Hit]:
    """A caption that no trainer can take in."""
    for subject, _ in seen.problems("caption_huge"):
        yield Hit(subject, "The caption file is larger than 64 KiB; it was not read.")
    for item in seen.items:
        if len(item.caption) > 16_384:
            yield Hit(item.name, f"The caption has {len(item.caption):,} characters.")


def no_trigger_named(seen: Examined) -> Iterator[Hit]:
    """The dataset does not say what its trigger is."""
    if not seen.trigger and seen.items:
        yield Hit("metadata.yaml", "No trigger is named, so captions can't be checked for it.")


def bad_trigger(seen: Examined) -> Iterator[Hit]:
    """A trigger that is no plain token."""
    if seen.trigger and not TRIGGER.fullmatch(seen.trigger):
        plain = re.sub(r"[^a-z0-9_]+", "_", seen.trigger.lower()).strip("_")
        fix = f"Name it {plain!r} in metadata.yaml and in every caption." if plain else ""
        yield Hit("metadata.yaml", f"The trigger {seen.trigger!r} has other characters than a-z, 0-9 and '_'.", fix)  # fmt: skip


def trigger_missing(seen: Examined) -> Iterator[Hit]:
    """A caption that never says the trigger."""
    for item in seen.captioned():
        if seen.trigger and not _trigger_positions(item.caption, seen.trigger):
            yield Hit(item.name, f"The caption does not contain the trigger {seen.trigger!r}.")


def trigger_not_first(seen: Examined) -> Iterator[Hit]:
    """The trigger stands behind other words."""
    for item in seen.captioned():
        positions = _trigger_positions(item.caption, seen.trigger) if seen.trigger else []
        first = item.caption.split(",")[0]
        if positions and not _trigger_positions(first, seen.trigger):
            yield Hit(item.name, f"The trigger {seen.trigger!r} stands behind other tags.")
        elif positions and item.caption[: positions[0]].strip(" <([{"):
            yield Hit(item.name, f"The trigger {seen.trigger!r} is not the first word.")


def trigger_repeated(seen: Examined) -> Iterator[Hit]:
    """The trigger more than once."""
    for item in seen.captioned():
        count = len(_trigger_positions(item.caption, seen.trigger)) if seen.trigger else 0
        if count > 1:
            yield Hit(item.name, f"The trigger {seen.trigger!r} stands {count} times in the caption.")


def sampler_syntax(seen: Examined) -> Iterator[Hit]:
    """Words that steer a sampler's parser and that a trainer learns literally."""
    for item in seen.captioned():
        marks = re.findall(r"<[^<>\n]{1,60}>|\bBREAK\b|\{[^{}\n]{0,60}\}|__[\w*/-]{1,40}?__(?![a-z0-9_])|\([^()\n]{1,60}:-?\d*\.?\d+\)|\(\(|\[\[", item.caption)  # fmt: skip
        if marks:
            yield Hit(item.name, f"The caption contains sampler syntax: {marks[0]}", f"Write: {plain_caption(item.caption)[:160]}")  # fmt: skip


def _trigger_positions(text: str, trigger: str) -> list[int]:
    pattern = rf"(?<![A-Za-z0-9_]){re.escape(trigger)}(?![A-Za-z0-9_])"
    return [match.start() for match in re.finditer(pattern, text)]


def _explained(seen: Examined, source: str) -> bool:
    """Whether another rule says already why this caption file gave nothing."""
    return any(subject == source for subject, _ in seen.problems("caption_not_utf8", "caption_huge"))
