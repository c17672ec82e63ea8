"""Why the system or a library refused something, in words that need no manual of theirs.

In: the exception. Out: one clause that fits behind a colon, without its full stop ("the disk is full"), and for text that could not be
parsed (JSON, TOML, YAML) what to write instead. An error that is not known here keeps the first line of its own words. The libraries
are known by the names of their exceptions, since this is read where they may not be installed. Standard library only.
"""

from __future__ import annotations

import errno
import json
import re
from typing import Any, NamedTuple

from .errors import BridgeError

MOST_LETTERS = 200

_FULL = "Free disk space, and do the same again."
_ALLOW = "Correct its permissions, or choose another folder."
_HELD = "Another program holds it: close that, and do the same again."
NO_CONNECTION = "Check the address and the network, and try again."
_SYSTEM: dict[int, tuple[str, str]] = {
    errno.ENOSPC: ("the disk is full", _FULL),
    errno.EDQUOT: ("the disk quota is used up", _FULL),
    errno.EFBIG: ("the disk takes no file of that size", "Free disk space, or lift the limit on the size of a file (ulimit -f)."),
    errno.EROFS: ("the disk is read-only", "The disk is read-only: mount it writable, or choose another folder."),
    errno.EIO: ("the disk failed", "Check the disk, and keep a copy of what is on it."),
    errno.ESTALE: ("the network disk has lost it", "Connect the network folder again."),
    errno.ETIMEDOUT: ("there was no answer in time", NO_CONNECTION),
    errno.ECONNREFUSED: ("nothing answers there", NO_CONNECTION),
    errno.ECONNRESET: ("the connection broke off", NO_CONNECTION),
    errno.EACCES: ("access is denied", _ALLOW),
    errno.EPERM: ("access is denied", _ALLOW),
    errno.ENOENT: ("it is not there", "Check the path; somebody may have moved or deleted it meanwhile."),
    errno.ENOTDIR: ("its path leads through a file", "Choose another path."),
    errno.EISDIR: ("it is a folder", "Name a file, not a folder."),
    errno.EEXIST: ("the name is taken", "Take away what is there, or choose another name."),
    errno.ENOTEMPTY: ("the folder is not empty", "Take away what is in it, or choose another name."),
    errno.ENAMETOOLONG: ("the name is too long for this disk", "Choose a shorter name, or a folder that lies less deep."),
    errno.ELOOP: ("its links lead in a circle", "Choose another path."),
    errno.EXDEV: ("it lies on another disk", "Choose a folder on the same disk."),
    errno.EBUSY: ("another program is using it", _HELD),
    errno.ETXTBSY: ("another program is using it", _HELD),
    errno.EMFILE: ("too many files are open", "Close other programs, or raise the limit (ulimit -n)."),
    errno.ENFILE: ("too many files are open", "Close other programs."),
    errno.ENOMEM: ("memory ran out", "Close other programs."),
}  # fmt: skip
"""The system's refusals: the reason, and what a person can do about it."""
_WINDOWS = {32: "another program has it open", 33: "another program has locked it", 206: "the path is too long for Windows"}  # fmt: skip

_PICTURES = (
    ("truncated|premature end", "the file is cut off"),
    ("cannot identify|unrecognized|not a .* file|broken|bad |invalid", "it can't be decoded as a picture"),
)
_SAFETENSORS = (
    ("incomplete|not fully covered", "the file is cut off"),
    ("header", "its header is damaged"),
    ("i/o|io error", "the disk failed"),
)


class Said(NamedTuple):
    """What is wrong with a text, what to write instead, and in which line (counted from 1; 0 where none is meant)."""

    reason: str
    fix: str
    line: int = 0

    @property
    def where(self) -> str:
        return f" in line {self.line}" if self.line else ""


_SINGLE_QUOTES = "Write Windows paths in single quotes: 'C:\\Users\\me'."

_JSON = (
    ("property name", "a name in double quotes is missing, or there is a comma behind the last entry", "Write \"name\": value, with commas between the entries only."),
    ("',' delimiter", "a comma or a closing bracket is missing", "Separate entries by commas, and close every bracket."),
    ("':' delimiter", "the colon between name and value is missing", 'Write "name": value.'),
    ("expecting value", "a value is missing, or is not written as JSON writes it", "Write text in double quotes, and true, false or null in small letters."),
    ("escape", "a `\\` in text has a meaning of its own", "Write it twice (C:\\\\Users), or use `/`."),
    ("extra data", "there is more text behind its end", "Keep one value, in one pair of brackets."),
    ("control character", "a line break or another control character stands in a quoted text", "Write \\n instead."),
    ("unterminated string", "a quoted text is not closed", "Close it with a double quote."),
)  # fmt: skip

_TOML = (
    ("hex value|escape|invalid unicode", "a `\\` in double quotes has a meaning of its own", _SINGLE_QUOTES),
    ("after a statement", "something stands behind a value that does not belong to it", "Write one `name = value` a line."),
    ("invalid value|invalid initial", "what stands behind the `=` is not a value", "Write text in quotes, and true or false in small letters."),
    ("unterminated|illegal character|expected [\"'][\"']", "a quoted text is not closed", "Close it with the quote that opened it."),
    ("overwrite|twice|already|mutable|declare", "the same name is given twice", "Keep one of the two."),
    ("unclosed|array|inline", "a list or a group in braces is not closed", "Close it, with commas between the values."),
    ("table|\\]", "a `[section]` is not closed", "Close it with `]`."),
    ("expected|invalid statement|bare key", "the line is not of the form `name = value`", "Write one `name = value` a line."),
)  # fmt: skip

_YAML = (
    ("hex|escape", "a `\\` in double quotes has a meaning of its own", _SINGLE_QUOTES),
    ("tab character", "a tab stands where the line is indented", "Indent with spaces."),
    ("mapping values are not allowed", "there is a second `: ` in the line, or the line is indented differently from those above it", "Put a value that has `: ` in it into quotes, and indent the lines of one group alike."),
    ("cannot start any token", "a value begins with a character that has a meaning of its own, or the line with a tab", "Put the value into quotes; indent with spaces."),
    ("end of stream", "a quoted text is not closed", "Close it with the quote that opened it."),
    ("',' or|flow", "a bracket is not closed, or a comma is missing", "Close every bracket, with commas between the values."),
    ("expected ':'", "the line has no `: ` between name and value", "Write `name: value`."),
    ("constructor|tag", "a value has a tag, or is a sign with a meaning of its own (`!`, `=`)", "Put the value into quotes."),
    ("unhashable|merging", "a list or a mapping stands where a name belongs", "Write `name: value`."),
    ("another document", "a line `---` begins a second document", "Keep one of the two."),
    ("base64", "a value is said to be binary and is not", "Put the value into quotes."),
    ("special characters|control", "it holds a control character", "Save it again as plain text."),
    ("expected|could not find", "the line does not fit those above it: its indentation differs, or text stands behind a closing quote", "Indent the lines of one group alike, and put a value that has quotes in it into quotes as a whole."),
)  # fmt: skip


def reason_of(error: BaseException) -> str:
    """Why it failed, as a clause without its full stop."""
    kind = type(error).__name__
    if isinstance(error, BridgeError):
        return error.problem.rstrip(".")
    if isinstance(error, OSError) and (known := _of_the_system(error)):
        return known
    if isinstance(error, json.JSONDecodeError):
        return in_json(error).reason
    if isinstance(error, UnicodeDecodeError):
        return f"it is not {error.encoding.upper()} text (byte {error.start})"
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing" if error.args else "something is missing"
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"the package {error.name.split('.')[0]} is not installed"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, MemoryError):
        return "memory ran out"
    if kind.startswith("DecompressionBomb"):
        return "it would unpack to too many pixels"
    if kind == "TimeoutExpired":
        return "there was no answer in time"
    table = _SAFETENSORS if kind == "SafetensorError" else _PICTURES if _is_of_pictures(error) else ()
    lines = str(error).strip().splitlines() or [kind]
    return _first(table, str(error)) or lines[0][:MOST_LETTERS].rstrip(".")


def way_out(error: OSError) -> str:
    """What a person can do about what the system refused, as a sentence."""
    return _SYSTEM.get(error.errno or 0, ("", "Check the disk and the permissions of the folder."))[1]


def _of_the_system(error: OSError) -> str:
    windows = _WINDOWS.get(getattr(error, "winerror", None) or 0, "")
    words = windows or _SYSTEM.get(error.errno or 0, ("", ""))[0] or error.strerror or ""
    return words[:1].lower() + words[1:]


def _is_of_pictures(error: BaseException) -> bool:
    return type(error).__name__ == "UnidentifiedImageError" or type(error) in (OSError, SyntaxError)


def _first(table: tuple[tuple[str, str], ...], words: str) -> str:
    return next((said for pattern, said in table if re.search(pattern, words, re.IGNORECASE)), "")


def in_json(error: Exception) -> Said:
    """What is wrong with JSON text."""
    if not isinstance(error, json.JSONDecodeError):
        return Said(reason_of(error), "Correct it and try again.")
    if not error.doc.strip():
        return Said("it is empty", "Write a value into it.")
    return _in_table(_JSON, error.msg, error.doc, error.lineno)


def in_toml(error: Exception, text: str) -> Said:
    """What is wrong with TOML text."""
    if isinstance(error, RecursionError):
        return Said(reason_of(error), "Write it with fewer brackets within brackets.")
    place = re.search(r"line (\d+)", str(error))
    said = _in_table(_TOML, str(error), text, int(place[1]) if place else 0)
    line = (text.splitlines() or [""])[said.line - 1]
    if comma := re.search(r"=\s*([+-]?\d+),(\d+)\s*(?:#.*)?$", line):
        return Said(
            "a number has a comma", f"Write {comma[1]}.{comma[2]}: decimals stand behind a point.", said.line
        )
    if "\\" in line and not re.search(r"=\s*[\"']", line):
        return Said("a path stands without quotes", _SINGLE_QUOTES, said.line)
    return said


def in_yaml(error: Any, text: str) -> Said:
    """What is wrong with YAML text."""
    mark = getattr(error, "problem_mark", None)
    words = str(getattr(error, "problem", None) or error)
    said = _in_table(_YAML, words, text, mark.line + 1 if mark else 0)
    return said if mark else said._replace(line=0)


def _in_table(table: tuple[tuple[str, str, str], ...], words: str, text: str, line: int) -> Said:
    """`line` counts from 1; 0 is the end of the text, which parsers also call the line behind it."""
    last = len(text.splitlines()) or 1
    at = min(line, last) if line else last
    for pattern, why, fix in table:
        if re.search(pattern, words, re.IGNORECASE):
            return Said(why, fix, at)
    return Said("it can't be understood", "Correct it, or write that value in quotes.", at)
