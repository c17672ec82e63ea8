"""Every question about a trigger in a text: is it there, where, is it first, what looks like it; and the text with it first, or without.

In: a caption or prompt, and a trigger. Out: places, words, or new text. Pure, and the only module that answers them: builder, export,
lint, repair, preservation and grids ask here, so that they agree.

A trigger stands where it is written as it is, case included, as a whole word: `wren` is in `wren's nest`, `(wren:1.2)` and `wrenのくつ`,
and not in `Wren`, `wren_2`, `wrén` or `<lora:wren:1>`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

SENTENCE_WORD = "the character"
"""What stands for the trigger within a sentence whose first word it becomes."""
_LETTER = "0-9A-Za-z_\u00aa\u00b5\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u1fff"
"""What goes on with a word: letters, digits and marks of scripts that part words by blanks. Chinese, Japanese and Korean do not."""
_NETWORK = re.compile(r"<[a-zA-Z]{1,20}:[^<>\n]{1,200}>")
_NEAR_WORDS = re.compile(r"[A-Za-z0-9_<>\-]+(?: [A-Za-z0-9_]+)?")
_WORDS = re.compile(r"[A-Za-z0-9_]+")
_BLANKS = "," + "".join(letter for letter in map(chr, range(0x3001)) if letter.isspace())
_BRACKETS = " \t<([{"
MOST_WORD_LETTERS = 80


def places(text: str, trigger: str) -> list[tuple[int, int]]:
    """`(start, end)` of each place where the trigger stands in `text`; none for an empty trigger."""
    if not trigger.strip() or trigger not in text:
        return []
    return _spans(text, _pattern(trigger, False))


def has(text: str, trigger: str) -> bool:
    """Whether the trigger stands anywhere in `text`."""
    return bool(places(text, trigger))


def is_first(text: str, trigger: str) -> bool:
    """Whether nothing but brackets stands before the trigger."""
    found = places(text, trigger)
    return bool(found) and not text[: found[0][0]].strip(_BRACKETS)


def put_first(text: str, trigger: str) -> str:
    """`text` with the trigger once, in front. Tags that are the trigger alone go; within a sentence `the character` stands for it."""
    if not trigger.strip():
        return text
    kept = [tag.strip() for tag in text.split(",") if tag.strip() and not _is_alone(tag, trigger)]
    return ", ".join((trigger, *(rename(tag, trigger, SENTENCE_WORD) for tag in kept)))


def ensure_first(text: str, trigger: str) -> str:
    """`text`, with the trigger put in front where it is missing. A text that has it anywhere stays as it is."""
    if not trigger.strip() or has(text, trigger):
        return text
    rest = text.lstrip(_BLANKS)
    return f"{trigger}, {rest}" if rest.strip() else trigger


def gather(text: str, trigger: str) -> str:
    """`text` with its trigger in front and once, as far as no sentence is touched: only tags that are the trigger alone move or go.

    Where the trigger stands within a sentence that does not begin with it, the text stays as it is: how to put it
    otherwise is for whoever wrote it. Without a trigger nothing moves.
    """
    if not trigger.strip():
        return text
    found = places(text, trigger)
    tags = text.split(",")
    alone = [tag for tag in tags if _is_alone(tag, trigger)]
    if not alone or (len(found) == 1 and is_first(text, trigger)):
        return text
    others = [tag for tag in tags if not _is_alone(tag, trigger)]
    within = any(has(tag, trigger) for tag in others)
    if within and others and is_first(",".join(others), trigger):
        return ",".join(others).strip(_BLANKS)
    rest = ",".join(others).strip(_BLANKS)
    return f"{trigger}, {rest}" if rest else trigger


def without(text: str, trigger: str) -> str:
    """`text` without the trigger and without the comma or blank that it leaves behind.

    A trigger that is no word of a language (it has `_` or a digit in it) goes in every case: `CHAR_WREN` is `char_wren` to
    CLIP. Of one that is, such as `wren`, another case may be another thing: the bird stays in `a Wren beside her`.
    """
    found = _spans(text, _pattern(trigger, _is_made_up(trigger))) if trigger.strip() else []
    if not found:
        return text
    bare = re.sub(r"\s+", " ", _with(text, found, ""))
    return re.sub(r" ?,(?: ?,)*", ",", bare).strip(" ,")


def rename(text: str, old: str, new: str) -> str:
    """`text` with `new` wherever the trigger `old` stands."""
    return _with(text, places(text, old), new)


def respell(text: str, trigger: str, *, others: Collection[str] = ()) -> str:
    """`text` with other spellings of the trigger written as it is; only those that can be nothing else.

    That is a tag of its own that differs in case, dashes, brackets or blanks (`Char-Wren`, `<char_wren>`), in a text that
    says the trigger nowhere else; beside the trigger such a tag goes, if it is joined by `_` or in brackets. `others` are
    triggers of other characters and stay; so does every word within a sentence.
    """
    if not trigger.strip():
        return text
    present = has(text, trigger)
    tags = []
    for tag in text.split(","):
        if not _is_spelling(tag, trigger) or _bare(tag) in others:
            tags.append(tag)
        elif not present:
            present = True
            tags.append(tag.replace(tag.strip(), trigger))
        elif not _is_token(tag):
            tags.append(tag)
    return ",".join(tags).strip() if len(tags) < text.count(",") + 1 else ",".join(tags)


def near_miss(text: str, trigger: str, *, others: Collection[str] = ()) -> str:
    """The first word or pair of words in `text` that looks like another spelling of the trigger; empty if there is none.

    Triggers of other characters, `others`, are none.
    """
    if not trigger.strip():
        return ""
    text = _NETWORK.sub(" ", text)
    words = [word.strip("<>-") for word in _NEAR_WORDS.findall(text)] + _WORDS.findall(text)
    return next((word for word in words if _looks_like(word, trigger) and not set(word.split()) & set(others)), "")  # fmt: skip


def _spans(text: str, pattern: re.Pattern[str]) -> list[tuple[int, int]]:
    """Where a pattern stands outside `<lora:...>`."""
    masked = _NETWORK.sub(lambda network: "\0" * len(network[0]), text)
    return [match.span() for match in pattern.finditer(masked)]


def _with(text: str, spans: list[tuple[int, int]], word: str) -> str:
    ends = [0, *(end for _, end in spans)]
    starts = [*(start for start, _ in spans), len(text)]
    return word.join(text[end:start] for end, start in zip(ends, starts, strict=True))


def _is_made_up(trigger: str) -> bool:
    return bool(re.search(r"[_0-9]", trigger))


@lru_cache(maxsize=256)
def _pattern(trigger: str, any_case: bool) -> re.Pattern[str]:
    """The trigger as a whole word: an end of it that is no letter, such as a bracket, needs no end of a word beside it."""
    before = rf"(?<![{_LETTER}])" if re.match(f"[{_LETTER}]", trigger) else ""
    after = rf"(?![{_LETTER}])" if re.search(f"[{_LETTER}]$", trigger) else ""
    return re.compile(f"{before}{re.escape(trigger)}{after}", re.IGNORECASE if any_case else 0)


def _is_alone(tag: str, trigger: str) -> bool:
    return tag.strip() == trigger


def _bare(tag: str) -> str:
    return tag.strip().strip("<>").strip()


def _is_token(tag: str) -> bool:
    """Whether a tag can be no words of a sentence: it is one word with `_` in it, or stands in angle brackets."""
    return tag.strip().startswith("<") or ("_" in tag and " " not in tag.strip())


def _is_spelling(tag: str, trigger: str) -> bool:
    """Whether a whole tag is the trigger, written in another way."""
    return tag.strip() != trigger and _plain(_bare(tag)) == trigger


def _plain(word: str) -> str:
    return re.sub(r"[ \-]", "_", word.lower())


def _looks_like(word: str, trigger: str) -> bool:
    """Other case, other separators, or one or two letters off."""
    if word == trigger or trigger in word.split() or len(word) > MOST_WORD_LETTERS:
        return False
    plain = _plain(word)
    if plain == trigger:
        return True
    return (
        abs(len(plain) - len(trigger)) <= 2
        and len(trigger) >= 6
        and "_" in plain
        and _edits(plain, trigger) <= 2
    )


def _edits(one: str, other: str) -> int:
    """Levenshtein distance."""
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, start=1):
        row, diagonal = [i, *row[1:]], row
        for j, right in enumerate(other, start=1):
            row[j] = min(row[j - 1] + 1, diagonal[j] + 1, diagonal[j - 1] + (left != right))
    return row[-1]
