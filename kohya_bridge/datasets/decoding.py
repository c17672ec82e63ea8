"""The text of a file that anybody may have written, or the reason why it is none.

In: bytes. Out: text with the encoding that it was read in. Read are UTF-8 with and without a mark, UTF-16 and UTF-32 with a mark, UTF-16 without one
where every other byte is zero, and Windows-1252 (Latin-1) where the words look like words of Western Europe. Everything else is
refused: a caption in a wrong encoding is learnt as garbage, and nobody sees it. Control letters are no text in any encoding.
"""

from __future__ import annotations

import codecs
import itertools
import re
import unicodedata
from dataclasses import dataclass

MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"), (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip
"""Byte order marks, longer ones first."""
WESTERN = "cp1252"
NAMES = {
    "cp1252": "Windows-1252",
    "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16",
    "utf-32-le": "UTF-32",
    "utf-32-be": "UTF-32",
}
SAVE_AS = "save it as UTF-8"
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffd\ufffe\uffff]")
_ACCENTED = "\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u00ff\u0152\u0153\u0178"
_SYMBOLS = re.compile("[\u00a1\u00a3\u00a7\u00a9\u00ab\u00ae\u00b0\u00bb\u00bf\u2022\u20ac\u2122]{2}")
_PAIRED = re.compile(
    "[\u0100-\u02af\u0370-\u07ff]{2,}"
)  # letters that UTF-8 writes in two bytes, but for those of Western Europe
_WORD = re.compile(f"[A-Za-z{_ACCENTED}]+")
_NOT_WESTERN = re.compile(
    f"[^\\x00-\\x7f{_ACCENTED}\u2018\u2019\u201a\u201c\u201d\u201e\u2013\u2014\u2022\u2026\u20ac\u00a0\u00a1\u00a3\u00a7\u00a9\u00ab\u00ae\u00b0\u00bb\u00bf\u2122]"
)


class NoText(ValueError):
    """Bytes that are no text that is read here; the message is why, as the end of a sentence."""


@dataclass(frozen=True)
class Written:
    """Text and the encoding that it was read in, a name of Python's codecs."""

    text: str
    encoding: str

    @property
    def note(self) -> str:
        """What a person should know of the encoding, as the end of a sentence; empty for UTF-8."""
        if self.encoding == "utf-8":
            return ""
        doubt = ", check its accents" if self.encoding == WESTERN else ""
        return f"not UTF-8; read as {NAMES[self.encoding]}{doubt}"


def decoded(raw: bytes) -> Written:
    """The text of a file. Raises NoText."""
    for mark, encoding in MARKS:
        if raw.startswith(mark):
            return _checked(raw[len(mark) :], encoding)
    wide = _wide(raw)
    if wide:
        return _checked(raw, wide)
    try:
        text = _without_controls(raw.decode("utf-8"))
        if is_one_script_a_word(text):
            return Written(text, "utf-8")
    except UnicodeDecodeError:
        pass
    try:
        text = raw.decode(WESTERN)
    except UnicodeDecodeError:
        text = ""
    if not text or not looks_western(text):
        raise NoText(f"it is in an encoding that is not known: {SAVE_AS}")
    return Written(_without_controls(text), WESTERN)


def control_letters(text: str) -> str:
    """The first control letter in a text, or half of a surrogate pair; empty if there is none. Line ends and tabs are none."""
    found = _CONTROLS.search(text)
    return found[0] if found else ""


def looks_western(text: str) -> bool:
    """Whether text that was read as Windows-1252 may be that: no letters but those of Western Europe, and those as its words have them: at
    most two thirds of a word's, no two capitals of them within it."""
    if _NOT_WESTERN.search(text) or _SYMBOLS.search(text):
        return False
    return all(_may_be_a_word(word) for word in _WORD.findall(text))


def is_one_script_a_word(text: str) -> bool:
    """Whether text that was read as UTF-8 may be that: pairs of bytes of Chinese and Korean encodings can be valid UTF-8 by chance, and
    come out as letters that no word has beside each other, or that do not exist."""
    if text.isascii():
        return True
    if any(unicodedata.category(letter) == "Cn" for letter in text if letter > "\x7f"):
        return False
    return all(len({_script(letter) for letter in word}) <= 1 for word in _PAIRED.findall(text))


def _script(letter: str) -> str:
    return unicodedata.name(letter, "?").split()[0]


def _may_be_a_word(word: str) -> bool:
    accented = [letter for letter in word if letter > "\x7f"]
    if not accented or len(word) == 1:
        return True
    rises = any(
        one.islower() and other.isupper() and other > "\x7f" for one, other in itertools.pairwise(word)
    )
    return len(accented) * 3 <= len(word) * 2 and not rises


def _wide(raw: bytes) -> str:
    """UTF-16 without a mark, by its zero bytes: ASCII letters have one each, always on the same side."""
    if len(raw) < 2 or len(raw) % 2 or 0 not in raw:
        return ""
    low, high = raw[0::2].count(0), raw[1::2].count(0)
    if high and not low:
        return "utf-16-le"
    return "utf-16-be" if low and not high else ""


def _checked(raw: bytes, encoding: str) -> Written:
    try:
        return Written(_without_controls(raw.decode(encoding)), encoding)
    except UnicodeDecodeError:
        raise NoText(
            f"it is not {NAMES.get(encoding, 'UTF-8')} text, as its first bytes say: {SAVE_AS}"
        ) from None


def _without_controls(text: str) -> str:
    found = control_letters(text)
    if found:
        raise NoText(f"it holds a control character (U+{ord(found):04X}), so it is not text: {SAVE_AS}")
    return text
