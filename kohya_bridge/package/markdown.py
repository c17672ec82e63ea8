"""Other people's words in Markdown: shown as they are, and nothing but shown.

In: text of captions, prompts, notes, names. Out: Markdown that renders as that text: no markup, no HTML, no picture that is fetched from
somewhere when the card is opened, no link. Sources: CommonMark 0.31 (2.4 backslash escapes, 4.5 fences, 6.1 code spans), GFM (tables, autolinks).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_MEANS_SOMETHING = re.compile(r"[\\`*\[\]<>&~$^{}]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
"""A `_` between two letters means nothing."""
_OPENS_A_BLOCK = re.compile(r"^(?:[#+=:>-]|\d+(?=[.)](?:\s|$)))")
_ADDRESS = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*):(?=//|[a-z0-9])|\b(www)\.|@")
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def prose(text: str) -> str:
    """One line that renders as `text`."""
    line = " ".join(_INVISIBLE.sub(" ", text).split())
    line = _MEANS_SOMETHING.sub(lambda found: f"\\{found.group()}", line).replace("|", "&#124;")
    line = _ADDRESS.sub(_no_link, line)
    opens = _OPENS_A_BLOCK.match(line)
    if opens is None:
        return line
    end = opens.end() if line[0].isdigit() else 0
    return f"{line[:end]}\\{line[end:]}"


def code(text: str) -> str:
    """A code span of `text`; where it holds what ends one, or a table's cell, the same as prose."""
    line = " ".join(_INVISIBLE.sub(" ", text).split())
    return f"`{line}`" if line and not {"`", "|"} & set(line) else prose(line)


def fenced(text: str, language: str) -> str:
    """A block of code that nothing in `text` ends."""
    fence = "`" * max(3, 1 + max((len(each) for each in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def table(rows: Iterable[tuple[str, str]]) -> str:
    """Two columns of Markdown cells without a head; rows without a value are left out."""
    there = [f"| {name} | {value} |" for name, value in rows if value]
    return "\n".join(["| | |", "| --- | --- |", *there])


def _no_link(found: re.Match[str]) -> str:
    """An address that stays text, also for renderers that make a link of each."""
    scheme, www = found.groups()
    return f"{scheme}\\:" if scheme else f"{www}\\." if www else "\\@"
