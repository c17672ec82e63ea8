"""What a terminal is shown: letters that it has, and none that steer it.

In: the process's standard streams, and text of other people. Out: streams that show `?` for a letter that they don't have (a Windows
console or a pipe in cp1252, a POSIX locale of `C`) instead of ending the verb; text without control characters. Standard library only.
"""

from __future__ import annotations

import codecs
import io
import logging
import sys
import unicodedata
from typing import Any

_STEERING = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's categories of what is not drawn: control characters, marks that turn the direction of writing, halves of pairs, breaks."""
_HARMLESS = "\n\t\u200c\u200d"
"""Line and column, and what joins the parts of a letter or of a picture."""


def let_streams_show_anything() -> None:
    """For the start of a shell's process. What a stream can show it shows as before."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")


def shows_every_letter(stream: Any) -> bool:
    """Whether a stream is in UTF-8. JSON for any other is written in ASCII, which loses nothing."""
    try:
        return codecs.lookup(stream.encoding or "").name == "utf-8"
    except (AttributeError, LookupError):
        return False


def shown(text: str) -> str:
    """`text` with every character that steers a terminal written out (`\\x1b`): it may come from a caption, a log, a model."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_written_out(each) if _steers(each) else each for each in text)


def shown_in_one_line(text: str) -> str:
    """The same for a cell of a table: a line or a column begun by somebody else's text would look like ours."""
    return shown(text).replace("\n", "\\n").replace("\t", "\\t")


def shown_as_json(text: str) -> str:
    """JSON with such characters as its own escapes: it reads the same, and steers no terminal."""
    return "".join(_json_escape(each) if _steers(each) else each for each in text)


def without_steering(text: str) -> str:
    """`text` with no such character: what a model said and is to be kept."""
    return "".join(letter for letter in text if not _steers(letter))


class _Shown(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return shown(super().format(record))


def let_warnings_be_shown() -> None:
    """What modules log without a handler of anybody's goes to stderr; it too tells of other people's files."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Shown())


def _steers(letter: str) -> bool:
    return letter not in _HARMLESS and unicodedata.category(letter) in _STEERING


def _written_out(letter: str) -> str:
    return letter.encode("unicode_escape", "backslashreplace").decode("ascii")


def _json_escape(letter: str) -> str:
    units = letter.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
