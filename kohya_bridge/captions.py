"""Captions: what is said about a picture, in `captions.jsonl`, and the log of prompts that a character was made with.

In: rows or a built character. Out: JSON lines, written atomically. `captions.jsonl` is the truth for training; whatever
an engine wants beside it (sidecar files) is staged in the run folder.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from . import json_text
from .errors import Conflict
from .files import Tree
from .files.refusals import raise_told
from .workspace import Workspace

if TYPE_CHECKING:
    from .building.character import Character

LOCK_TIMEOUT_S = 20.0
MAX_LINE_BYTES = 256 << 10
MAX_LOG_BYTES = 1 << 30
MOST_WEIGHT_LETTERS = 24
_LINE_BREAKS = re.compile(r"[\r\n]+")
_WEIGHT = re.compile(r"-?\d*\.?\d+")


@dataclass(frozen=True)
class CaptionRow:
    """One line of `captions.jsonl`. `source` says who wrote it: `builder`, `person`, `import`, `auto` or nothing. `more` are keys that are
    not ours: no training depends on them, and they are written again as they were."""

    file_name: str
    prompt: str
    negative_prompt: str = ""
    trigger: str = ""
    source: str = ""
    more: Mapping[str, Any] = field(default_factory=dict, compare=False)


_REQUIRED = ("file_name", "prompt")
_OWN = tuple(each.name for each in fields(CaptionRow) if each.name != "more")


def more_of(row: CaptionRow | None) -> Mapping[str, Any]:
    """The foreign keys of the row that stood there, for the one that takes its place."""
    return row.more if row else {}


@dataclass(frozen=True)
class RowProblem:
    """A line that can't be used: its number from 1 and why."""

    line: int
    problem: str


def parse_captions(raw: bytes) -> tuple[list[CaptionRow], list[RowProblem]]:
    """Rows and unusable lines of a JSON-lines caption file. Never raises; foreign keys are kept as `more`."""
    rows, problems = [], []
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        row = _row(line) if len(line) <= MAX_LINE_BYTES else "it is longer than 256 KiB"
        if isinstance(row, str):
            problems.append(RowProblem(number, row))
        else:
            rows.append(row)
    return rows, problems


def write_captions(file: Path, rows: Iterable[CaptionRow]) -> Path:
    """Replace a `captions.jsonl`; empty fields are left out, so that a person can read it. Raises StorageError."""
    lines = [json_text.write(_written(row), ensure_ascii=False) for row in rows]
    return Tree(file.parent).write(file, "".join(line + "\n" for line in lines))


def _written(row: CaptionRow) -> dict[str, Any]:
    own = {name: getattr(row, name) for name in _OWN}
    return {name: value for name, value in own.items() if value or name in _REQUIRED} | dict(row.more)


def append_prompt(
    workspace: Workspace, character: Character, *, clock: Callable[[], float] = time.time
) -> bool:
    """Add what the builder made to `kohya/prompts/<character_id>.jsonl`; True when it was not there yet.

    Two rows are the same when prompt, negative prompt, trigger, seed and dataset are.

    Raises:
        StorageError, Conflict: the file can't be written, or another program holds it for 20 seconds.
    """
    file = workspace.prompts_file(character.character_id)
    row = {
        "prompt": character.prompt,
        "negative_prompt": character.negative_prompt,
        "caption": character.caption,
        "trigger": character.trigger,
        "seed": character.seed,
        "character_id": character.character_id,
        "attributes": dict(character.attributes),
        "dataset": character.dataset,
        "time": clock(),
    }
    with locked(file):
        if _prompt_key(row) in {_prompt_key(each) for each in read_prompts(file)}:
            return False
        Tree(file.parent).append_line(file, json_text.write(row, ensure_ascii=False))
    return True


def read_prompts(file: Path) -> list[dict[str, Any]]:
    """The rows of a prompt log; torn or foreign lines are passed over, an absent file has none."""
    try:
        lines = Tree(file.parent).read_bytes(file, most=MAX_LOG_BYTES).split(b"\n")
    except FileNotFoundError:
        return []
    rows = []
    for line in lines:
        try:
            row = json_text.read(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and isinstance(row.get("prompt"), str):
            rows.append(row)
    return rows


def plain_caption(text: str) -> str:
    """`text` as a trainer should read it: one line, no emphasis `(x:1.2)`, `<lora:...>`, `BREAK` or wildcard syntax.

    Trainers take captions literally: what steers a sampler's parser would be learnt as words. Escaped brackets become brackets, so
    that a second time may take them too.
    """
    text = re.sub(r"<[^<>]{0,200}>", " ", text)
    text = re.sub(r"\bBREAK\b", ",", text)
    text = re.sub(r"\{([^{}|]*)(?:\|[^{}]*)?\}", r"\1", text)
    text = re.sub(r"__([A-Za-z0-9*/-][A-Za-z0-9_*/-]*?)__", r"\1", text)
    text = without_emphasis(text)
    parts = [re.sub(r"\s+", " ", part).strip() for part in re.split(r"[\n\r,]+", text)]
    return ", ".join(part for part in parts if part)


def lines_joined(text: str) -> str:
    """`text` on one line: a comma stands for each line break, a blank where the line ends with a mark of its own."""
    joined = ""
    for line in (line.strip() for line in _LINE_BREAKS.split(text)):
        if not line.strip(" \t,"):
            continue
        if joined:
            joined = joined + " " if joined[-1] in ".!?;:" else joined.rstrip(" \t,") + ", "
        joined += line
    return joined


def has_line_breaks(text: str) -> bool:
    """Whether `text` goes on after a line break."""
    return bool(_LINE_BREAKS.search(text.strip()))


def without_emphasis(text: str) -> str:
    """`text` without pairs of brackets and the weights in them, from one look at each letter: brackets may be nested as deep as
    the text is long. Escaped brackets are letters; those without a partner stay."""
    out: list[str] = []
    opened: list[int] = []  # places in `out` of brackets that wait for their partner
    escaped = False
    for letter, following in zip(text, f"{text} "[1:], strict=True):
        if escaped:
            out.append(letter)
            escaped = False
        elif letter == "\\" and following in "()":
            escaped = True
        elif letter in "([":
            opened.append(len(out))
            out.append(letter)
        elif letter in ")]" and opened:
            start = opened.pop()
            _drop_weight(out, start + 1)
            out[start] = ""
        else:
            out.append(letter)
    return "".join(out)


def _drop_weight(out: list[str], start: int) -> None:
    """Take a weight such as `:1.2` off the end of `out`, unless it would begin before `start`."""
    tail = "".join(out[max(start, len(out) - MOST_WEIGHT_LETTERS) :])
    begin = tail.rfind(":")
    if begin >= 0 and _WEIGHT.fullmatch(tail, begin + 1):
        for _ in tail[begin:]:
            while not out.pop():
                pass


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold `file` against other writers, in this process and in others; the lock is `.<name>.lock` beside it.

    Raises:
        Conflict: another program holds it for longer than 20 seconds.
        StorageError: the lock can't be made; the folder is read-only, or its disk full.
    """
    lock = FileLock(Tree(file.parent).free(f".{file.name}.lock"))
    try:
        lock.acquire(timeout=LOCK_TIMEOUT_S)
    except Timeout:
        raise Conflict(
            f"{file.name} is held by another program.", "Wait until it has finished, or close it."
        ) from None
    except OSError as error:
        raise_told(file, error, "can't be locked against other writers")
    try:
        yield
    finally:
        lock.release()


def _row(line: bytes) -> CaptionRow | str:
    try:
        data = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        return "it is not UTF-8 text"
    except (ValueError, RecursionError):
        return "it is not valid JSON"
    if not isinstance(data, dict) or not isinstance(data.get("file_name"), str) or not data["file_name"]:
        return "it has no file_name"
    prompt = data.get("prompt")
    if not isinstance(prompt, str):
        return "it has no prompt"
    other = {key: data.get(key) or "" for key in ("negative_prompt", "trigger", "source")}
    if not all(isinstance(value, str) for value in other.values()):
        return "negative_prompt, trigger and source must be text"
    if any(
        "\ud800" <= letter <= "\udfff"
        for text in (data["file_name"], prompt, *other.values())
        for letter in text
    ):
        return "it holds half of a character (a lone surrogate)"
    return CaptionRow(data["file_name"], prompt, **other, more=_foreign(data))


def _foreign(data: dict[str, Any]) -> dict[str, Any]:
    """What is not ours of a line; nothing of one that is nested too deep to be written again."""
    more = {key: value for key, value in data.items() if key not in _OWN}
    if not more:
        return more
    try:
        json_text.write(more)
    except RecursionError:
        return {}
    return more


def _prompt_key(row: dict[str, Any]) -> str:
    """As text: a log that somebody edited may hold anything."""
    names = ("prompt", "negative_prompt", "trigger", "seed", "dataset")
    return json_text.write([row.get(name) or "" for name in names])
