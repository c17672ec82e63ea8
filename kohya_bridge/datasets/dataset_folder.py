"""Reading a dataset folder: `images/`, `captions.jsonl`, `metadata.yaml`.

In: a folder that anybody may have filled. Out: a frozen `Dataset`. Reading never fails over bad content and never leaves
the folder: what is wrong stands in `problems`, which lint turns into findings. Pictures are not opened here.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .. import disk
from ..captions import CaptionRow, parse_captions
from ..errors import BridgeError, NotFound
from ..files import Tree
from ..reasons import reason_of
from .dataset_metadata import METADATA_NAME, DatasetMetadata, read_metadata
from .decoding import is_one_script_a_word

CAPTIONS_NAME, IMAGES_NAME, LOCK_NAME = "captions.jsonl", "images", "dataset.lock.json"
ORIGINALS_NAME, MASKS_NAME = "originals", "masks"
# What sd-scripts globs (library/train_util.py:104): on Linux these and no mixed case. Both engines are given the same set.
TRAINED_SUFFIXES = tuple(f".{each}" for kind in ("png", "jpg", "jpeg", "webp", "bmp") for each in (kind, kind.upper()))  # fmt: skip
SIDECAR_SUFFIXES = (".txt", ".caption")
MAX_CAPTION_BYTES = 64 << 10
MAX_CAPTIONS_BYTES = 64 << 20

ProblemKind = Literal[
    "captions_bom", "captions_bad_row", "captions_huge", "caption_not_utf8", "caption_bom", "caption_huge",
    "caption_multiline", "caption_empty_file", "row_without_picture", "row_twice", "row_escapes", "metadata_missing",
    "metadata_invalid", "outside", "not_a_file", "unlistable",
]  # fmt: skip


@dataclass(frozen=True)
class ReadingProblem:
    """Something that reading stumbled over; `subject` is a path relative to the dataset."""

    kind: ProblemKind
    subject: str
    detail: str = ""


@dataclass(frozen=True)
class DatasetItem:
    """One picture and its caption. `source` is the file the caption came from, empty when it has none."""

    file: Path
    caption: str = ""
    source: str = ""
    row: CaptionRow | None = None

    @property
    def name(self) -> str:
        return self.file.name


@dataclass(frozen=True)
class Dataset:
    """A folder as it was read. `items` are the pictures an engine would train on, in name order; `others` every other
    file, relative to `dir`."""

    slug: str
    dir: Path
    items: tuple[DatasetItem, ...] = ()
    metadata: DatasetMetadata = field(default_factory=DatasetMetadata)
    problems: tuple[ReadingProblem, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def trigger(self) -> str:
        return self.metadata.lora_tag


def read_dataset(dir: Path) -> Dataset:
    """The folder as a `Dataset`. Links that lead out of it, and what is no plain file, are reported and not opened.

    Raises:
        NotFound: there is no such folder.
    """
    dir = dir.resolve()
    if not dir.is_dir():
        raise NotFound(
            f"There is no folder {dir.name!r}.",
            "Make the dataset with Caption Export, or with `python -m kohya_bridge import` in a shell.",
        )
    files, problems = _files_of(dir)
    rows = _read_rows(dir, files, problems)
    metadata = _read_metadata(dir, files, problems)
    pictures = [name for name in files if _is_picture(name)]
    items = []
    for name in pictures:
        row = rows.pop(name.removeprefix(f"{IMAGES_NAME}/"), None)
        caption, source = (row.prompt, CAPTIONS_NAME) if row else _read_sidecar(dir, name, files, problems)
        items.append(DatasetItem(dir / name, caption, source, row))
    problems += [ReadingProblem("row_without_picture", name) for name in rows]
    others = [name for name in files if name not in set(pictures)]
    return Dataset(dir.name, dir, tuple(items), metadata, tuple(problems), tuple(others))


def _files_of(dir: Path) -> tuple[dict[str, Path], list[ReadingProblem]]:
    """Every plain file below `dir` (hidden folders and `originals/` left out) by relative name, in name order."""
    files, problems = {}, []
    pending = [dir]
    while pending:
        folder = pending.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            problems.append(ReadingProblem("unlistable", folder.name, reason_of(error)))
            continue
        for entry in entries:
            path = Path(entry.path)
            name = path.relative_to(dir).as_posix()
            if _leads_out(entry, dir):
                problems.append(ReadingProblem("outside", name))
            elif entry.is_dir(follow_symlinks=False):
                kept_aside = folder == dir and entry.name == ORIGINALS_NAME
                pending += [] if entry.name.startswith(".") or kept_aside else [path]
            elif path.is_file() and stat.S_ISREG(path.stat().st_mode):
                files[name] = path
            else:
                problems.append(ReadingProblem("not_a_file", name))
    return dict(sorted(files.items())), problems


def _leads_out(entry: os.DirEntry[str], dir: Path) -> bool:
    """Whether a link, or a junction on Windows, leads to a place that is not in the folder."""
    try:
        is_link = disk.is_link(entry.stat(follow_symlinks=False))
    except OSError:  # it went away
        return False
    return is_link and not Path(entry.path).resolve().is_relative_to(dir)


def _is_picture(name: str) -> bool:
    folder, _, file = name.rpartition("/")
    return folder == IMAGES_NAME and file.endswith(TRAINED_SUFFIXES) and not file.startswith(".")


def _read_rows(
    dir: Path, files: dict[str, Path], problems: list[ReadingProblem]
) -> dict[str, CaptionRow]:  # fmt: skip
    if CAPTIONS_NAME not in files:
        return {}
    if files[CAPTIONS_NAME].stat().st_size > MAX_CAPTIONS_BYTES:
        problems.append(ReadingProblem("captions_huge", CAPTIONS_NAME))
        return {}
    raw = Tree(dir).read_bytes(CAPTIONS_NAME, most=MAX_CAPTIONS_BYTES)
    if raw.startswith(b"\xef\xbb\xbf"):
        problems.append(ReadingProblem("captions_bom", CAPTIONS_NAME))
    found, bad = parse_captions(raw)
    problems += [
        ReadingProblem("captions_bad_row", f"{CAPTIONS_NAME}:{each.line}", each.problem) for each in bad
    ]
    rows: dict[str, CaptionRow] = {}
    for row in found:
        if not _stays_inside(row.file_name):
            problems.append(ReadingProblem("row_escapes", row.file_name))
        elif row.file_name in rows:
            problems.append(ReadingProblem("row_twice", row.file_name))
        else:
            rows[row.file_name] = row
    return rows


def _stays_inside(name: str) -> bool:
    return name not in (".", "..") and not any(letter in name for letter in "/\\\0")


def _read_sidecar(
    dir: Path, name: str, files: dict[str, Path], problems: list[ReadingProblem]
) -> tuple[str, str]:  # fmt: skip
    """A `.txt` or `.caption` beside the picture, read as sd-scripts does (first line), with what is odd about it noted."""
    stem = name.rpartition(".")[0]
    found = next((stem + suffix for suffix in SIDECAR_SUFFIXES if stem + suffix in files), None)
    if found is None:
        return "", ""
    small = files[found].stat().st_size <= MAX_CAPTION_BYTES
    raw = Tree(dir).read_bytes(found, most=MAX_CAPTION_BYTES) if small else None
    if raw is None:
        problems.append(ReadingProblem("caption_huge", found))
        return "", found
    if not raw:
        problems.append(ReadingProblem("caption_empty_file", found))
    if raw.startswith(b"\xef\xbb\xbf"):
        problems.append(ReadingProblem("caption_bom", found))
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problems.append(ReadingProblem("caption_not_utf8", found, f"byte {error.start}"))
        return "", found
    if not is_one_script_a_word(text):
        problems.append(ReadingProblem("caption_not_utf8", found, "it only looks like it by chance"))
        return "", found
    lines = [line.strip() for line in text.split("\n")]
    if any(lines[1:]):
        problems.append(ReadingProblem("caption_multiline", found))
    return lines[0], found


def _read_metadata(
    dir: Path, files: dict[str, Path], problems: list[ReadingProblem]
) -> DatasetMetadata:  # fmt: skip
    if METADATA_NAME not in files:
        problems.append(ReadingProblem("metadata_missing", METADATA_NAME))
        return DatasetMetadata()
    try:
        return read_metadata(files[METADATA_NAME])
    except BridgeError as error:
        told = error.problem if getattr(error, "problems", ()) else str(error)
        problems.append(ReadingProblem("metadata_invalid", METADATA_NAME, told))
        return DatasetMetadata()
