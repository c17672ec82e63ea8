"""Rules about single captions (1xx). One function each; `catalogue.py` lists them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..captions import has_line_breaks, plain_caption
from ..counted import counted
from ..datasets.decoding import control_letters
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
    """Text after the first line of a caption file."""
    for subject, _ in seen.problems("caption_multiline"):
        yield Hit(subject, "The caption has several lines; only the first is trained.")


def line_breaks(seen: Examined) -> Iterator[Hit]:
    """Line breaks inside a caption of captions.jsonl."""
    for item in seen.captioned():
        if item.row and has_line_breaks(item.caption):
            yield Hit(item.name, "The caption has line breaks.")


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
            yield Hit(item.name, f"The caption has {counted(len(item.caption), 'character')}.")


def sampler_syntax(seen: Examined) -> Iterator[Hit]:
    """Words that steer a sampler's parser and that a trainer learns literally."""
    for item in seen.captioned():
        mark = sampler_mark(item.caption)
        if mark:
            yield Hit(item.name, f"The caption contains sampler syntax: {mark}", f"Write: {plain_caption(item.caption)[:160]}")  # fmt: skip


def control_letter(seen: Examined) -> Iterator[Hit]:
    """Letters that no person wrote: the caption was read in a wrong encoding, or cut from something that is no text."""
    for item in seen.captioned():
        if letter := control_letters(item.caption):
            yield Hit(
                item.name,
                f"The caption holds a control character (U+{ord(letter):04X}): it is in another encoding, or not a text at all.",
            )


def sampler_mark(caption: str) -> str:
    """The first piece of a caption that steers a sampler's parser; empty if there is none."""
    found = _SAMPLER_SYNTAX.search(caption)
    return found[0] if found else ""


def too_many_tokens(seen: Examined) -> Iterator[Hit]:
    """More tokens than the trainer reads."""
    limit = seen.reading.limit or seen.training.max_token_length
    for item in seen.captioned():
        cut = seen.tokens.cut(item.caption, length=limit) if seen.tokens else None
        if not cut or not cut.lost:
            continue
        has = f"The caption has {counted(cut.tokens, 'token')}"
        if seen.reading.family:
            what = "is cut off" if seen.reading.is_cut else "is more than that"
            problem = f"{has}; {seen.reading.family} was made with captions of up to {limit}, and this {what}: {cut.lost[:120]}"
            yield Hit(item.name, problem, "Shorten it, or move what matters forward.")
        else:
            yield Hit(item.name, f"{has}, of which {limit} are read; this is cut off: {cut.lost[:120]}")


def negative_words(seen: Examined) -> Iterator[Hit]:
    """What should not be in the picture, written as if it were."""
    for item in seen.captioned():
        tags = {tag.strip().lower() for tag in item.caption.split(",")}
        negative = item.row.negative_prompt if item.row else ""
        unwanted = {tag.strip().lower() for tag in negative.split(",") if tag.strip()} | NEGATIVE_TAGS
        found = sorted(tags & unwanted)
        if "negative prompt" in item.caption.lower():
            yield Hit(item.name, "The caption contains a negative prompt.")
        elif found:
            yield Hit(item.name, f"The caption says what a negative prompt forbids: {', '.join(found[:4])}.")


def automatic(seen: Examined) -> Iterator[Hit]:
    """A caption that no person wrote or checked."""
    for item in seen.captioned():
        if item.row and item.row.source == "auto":
            yield Hit(item.name, "The caption was written by a model and not by a person.")


# Every repetition is bounded, so that each letter is looked at a bounded number of times.
_SAMPLER_SYNTAX = re.compile(
    r"<[^<>\n]{1,60}>|\bBREAK\b|\{[^{}\n]{0,60}\}|__[\w*/-]{1,40}?__(?![a-z0-9_])|\([^()\n]{1,60}:-?\d{0,9}\.?\d{1,9}\)|\(\(|\[\["
)
NEGATIVE_TAGS = {"worst quality", "low quality", "lowres", "bad anatomy", "bad hands", "extra digits", "missing fingers",
                 "extra fingers", "jpeg artifacts", "watermark", "signature", "blurry", "deformed", "disfigured",
                 "mutated hands", "bad proportions", "poorly drawn"}  # fmt: skip


def _explained(seen: Examined, source: str) -> bool:
    """Whether another rule says already why this caption file gave nothing."""
    return any(subject == source for subject, _ in seen.problems("caption_not_utf8", "caption_huge"))
