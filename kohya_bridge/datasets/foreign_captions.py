"""Captions as other tools keep them, found in a folder of pictures.

In: a folder: this program's own dataset, kohya's projects and `10_name class` folders, flat pictures with sidecar files in any spelling, Hugging
Face's `metadata.jsonl` and `metadata.csv` at any depth, sd-scripts' metadata JSON (`in_json`). Out: pictures with their captions, in name order,
notes on what was not taken as it was, and every file that was passed over with its reason. Nothing is written.
"""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from .. import json_text
from ..captions import parse_captions
from ..counted import counted
from ..errors import BridgeError, UnusableFile
from ..files import Tree
from ..reasons import reason_of
from .dataset_folder import CAPTIONS_NAME
from .dataset_metadata import METADATA_NAME, DatasetMetadata, read_metadata
from .decoding import NoText, control_letters, decoded
from .foreign_layout import Label, Layout, layout_of

MAX_TABLE_BYTES, MAX_SIDECAR_BYTES = 64 << 20, 64 << 10
SIDECARS = (".txt", ".caption", ".cap")
CAPTION_KEYS = ("prompt", "text", "caption", "tags")
NAME_KEYS = ("file_name", "image", "filename", "file", "path")
TABLES = {
    CAPTIONS_NAME: CAPTIONS_NAME,
    "metadata.jsonl": "huggingface",
    "metadata.csv": "huggingface",
    "captions.csv": "csv",
}


@dataclass(frozen=True)
class ForeignPicture:
    """One picture; `repeats` is what its kohya folder says, else 1."""

    file: Path
    caption: str = ""
    repeats: int = 1
    negative_prompt: str = ""


@dataclass(frozen=True)
class ForeignFolder:
    """What a folder holds. `kind` is `dataset`, `kohya`, `huggingface`, `csv`, `in_json`, `captions.jsonl` or `sidecars`; `passed_over` has each
    other file with the end of a sentence that says why it is not taken."""

    kind: str
    pictures: tuple[ForeignPicture, ...]
    notes: tuple[str, ...] = ()
    passed_over: tuple[tuple[str, str], ...] = ()
    metadata: DatasetMetadata | None = None


def read_foreign(folder: Path, *, prefer: str = "") -> ForeignFolder:
    """Every picture of the folder with the caption that it has there; `prefer` names the concept to take where there are several.

    Tables win over sidecar files, and a picture that neither names has the words of its numbered folder, as sd-scripts trains it.
    """
    reader = _Reader(Tree(folder.resolve()), prefer)
    pictures = tuple(reader.picture(file) for file in reader.layout.pictures)
    metadata = reader.metadata()
    reader.note_what_is_over()
    return ForeignFolder(reader.kind(), pictures, tuple(reader.notes), reader.passed_over(), metadata)


@dataclass
class _Table:
    """The rows of one table: caption and negative prompt by the path that it gives a picture."""

    file: Path
    kind: str
    rows: dict[str, tuple[str, str]] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    _by_end: dict[str, list[str]] = field(default_factory=dict)

    def add(self, told: str, caption: str, negative: str) -> None:
        """Take a row; the first one of a picture counts."""
        name = told.replace("\\", "/").removeprefix("./")
        if name not in self.rows:
            self.rows[name] = (caption, negative)
            for end in {PurePosixPath(name).name, PurePosixPath(name).stem}:
                self._by_end.setdefault(end, []).append(name)

    def find(self, picture: Path, names: Counter[str]) -> tuple[str, str] | None:
        """`(caption, negative prompt)` of a picture: by its path from the table's folder; else by its name, where `names` counts one picture of
        that name and the row is a path of another machine."""
        for path in (_below(picture, self.file.parent), picture.as_posix()):
            for key in (path, os.path.splitext(path)[0]):
                if key in self.rows:
                    return self._row(key)
        for end in (picture.name, picture.stem):
            told = self._by_end.get(end, [])
            if names[end] == 1 and len(told) == 1 and not (self.file.parent / told[0]).is_file():
                return self._row(told[0])
        return None

    def _row(self, key: str) -> tuple[str, str]:
        self.used.add(key)
        return self.rows[key]


class _Reader:
    """One folder being read."""

    def __init__(self, tree: Tree, prefer: str):
        self.tree = tree
        self.layout: Layout = layout_of(tree, prefer=prefer)
        self.notes: list[str] = []
        self.taken: set[Path] = set()
        self.unread: dict[Path, str] = {}
        self.labelled = 0
        self.by_name = {file.as_posix().lower(): file for file in self.layout.texts}
        self.names = Counter(end for file in self.layout.pictures for end in {file.name, file.stem})
        self.tables = list(self._tables())
        self._note_shared_stems()

    def kind(self) -> str:
        if self.layout.kind in ("dataset", "kohya"):
            return self.layout.kind
        used = [table.kind for table in self.tables if table.used]
        return used[0] if used else "sidecars"

    def picture(self, file: Path) -> ForeignPicture:
        label = self.layout.labels.get(file.parent, Label(1, ""))
        for table in self.tables:
            found = table.find(file, self.names)
            if found is not None:
                return ForeignPicture(file, found[0], label.repeats, found[1])
        caption = self._from_sidecar(file)
        if caption is None and label.text and self.layout.kind == "kohya":
            caption = label.text
            self.labelled += 1
        return ForeignPicture(file, caption or "", label.repeats)

    def metadata(self) -> DatasetMetadata | None:
        """The folder's own metadata.yaml, if it is one of this program's."""
        if not self.tree.is_file(METADATA_NAME):
            return None
        self.taken.add(self.tree.dir / METADATA_NAME)
        try:
            return read_metadata(self.tree.dir / METADATA_NAME)
        except (BridgeError, OSError) as error:
            self.unread[self.tree.dir / METADATA_NAME] = getattr(error, "problem", str(error))
            return None

    def note_what_is_over(self) -> None:
        """Note, once every picture has its caption, which have none of their own and which rows have no picture."""
        if self.labelled:
            self.notes.append(
                f"{self.labelled} without a caption: the words of their folder are it, as sd-scripts trains them."
            )
        for table in self.tables:
            unused = [key for key in table.rows if key not in table.used]
            if unused:
                self.notes.append(
                    f"{self._shown(table.file)}: {counted(len(unused), 'row names', 'rows name')} no picture here, such as {unused[0]!r}."
                )

    def passed_over(self) -> tuple[tuple[str, str], ...]:
        """Everything that was not taken. Asked for last."""
        rest = [(self._shown(file), self.unread.get(file, "no picture has that name")) for file in self.layout.texts if file not in self.taken or file in self.unread]  # fmt: skip
        return tuple(sorted([*self.layout.passed_over, *rest]))

    def _shown(self, file: Path) -> str:
        return file.relative_to(self.tree.dir).as_posix()

    def _note_shared_stems(self) -> None:
        """Two pictures of one name and different endings share a sidecar: sd-scripts would read it for both."""
        seen: dict[str, Path] = {}
        for file in self.layout.pictures:
            key = os.path.splitext(file.as_posix())[0].lower()
            if key in seen:
                self.notes.append(
                    f"{self._shown(file)} and {seen[key].name} share a name, and so a caption file."
                )
            seen[key] = file

    # --- texts ------------------------------------------------------------------------------------------------------

    def _text(self, file: Path, most: int) -> str | None:
        """A file's text; None where it is none, with the reason kept."""
        try:
            written = decoded(self.tree.read_bytes(file, most=most))
        except (UnusableFile, NoText, OSError) as error:
            self.unread[file] = error.problem.rstrip(".") if isinstance(error, UnusableFile) else str(error)
            return None
        if written.note:
            self.notes.append(f"{self._shown(file)}: {written.note}.")
        return written.text

    def _from_sidecar(self, picture: Path) -> str | None:
        """The caption in the file beside the picture: None where there is no such file, empty where it can't be read, so that no other
        words take its place unseen."""
        stem, whole = picture.with_suffix("").as_posix().lower(), picture.as_posix().lower()
        names = [base + ending for ending in SIDECARS for base in (stem, whole)]
        file = next((self.by_name[name] for name in names if name in self.by_name), None)
        if file is None:
            return None
        self.taken.add(file)
        return (self._text(file, MAX_SIDECAR_BYTES) or "").strip()

    # --- tables -----------------------------------------------------------------------------------------------------

    def _tables(self) -> Iterator[_Table]:
        """Tables of the layout, nearest to the root first; a JSON that is no caption list is passed over."""
        for file in sorted(self.layout.texts, key=lambda file: (len(file.parts), list(TABLES).index(file.name) if file.name in TABLES else 9, file)):  # fmt: skip
            if file.suffix.lower() in SIDECARS or file.name == METADATA_NAME:
                continue
            kind = TABLES.get(
                file.name.lower(), "csv" if file.suffix.lower() in (".csv", ".tsv") else "in_json"
            )
            if kind == "in_json" and file.suffix.lower() != ".json":
                continue
            text = self._text(file, MAX_TABLE_BYTES)
            if text is None:
                continue
            table = _Table(file, kind)
            for told, caption, negative in self._rows(file, kind, text):
                self._add(table, told, caption, negative)
            if table.rows:
                self.taken.add(file)
                yield table
            else:
                self.unread.setdefault(file, "it lists no captions")

    def _add(self, table: _Table, told: str, caption: str, negative: str) -> None:
        if letter := control_letters(caption):
            self.notes.append(f"{self._shown(table.file)}: the caption of {told} holds a control character (U+{ord(letter):04X}) and was left out.")  # fmt: skip
        else:
            table.add(told, caption, negative)

    def _rows(self, file: Path, kind: str, text: str) -> Iterator[tuple[str, str, str]]:
        """`(picture as the table names it, caption, negative prompt)` of each row."""
        if file.suffix.lower() in (".csv", ".tsv"):
            yield from self._rows_of_csv(file, text)
        elif kind == "in_json":
            yield from self._rows_of_json(file, text)
        else:
            yield from self._rows_of_lines(file, text)

    def _rows_of_lines(self, file: Path, text: str) -> Iterator[tuple[str, str, str]]:
        own = {row.file_name: row for row in parse_captions(text.encode("utf-8", "surrogatepass"))[0]}
        for row in own.values():
            yield row.file_name, row.prompt, row.negative_prompt
        for number, line in enumerate(text.split("\n"), start=1):
            if not line.strip():
                continue
            try:
                data = json_text.read(line)
            except ValueError:
                self.notes.append(f"{self._shown(file)} line {number}: not valid JSON, passed over.")
                continue
            picture, caption = _first(data, NAME_KEYS), _first(data, CAPTION_KEYS)
            if picture is None or caption is None:
                what = "names no picture" if picture is None else "has no caption"
                self.notes.append(f"{self._shown(file)} line {number}: it {what}, passed over.")
            elif picture not in own:
                yield picture, caption, ""

    def _rows_of_csv(self, file: Path, text: str) -> Iterator[tuple[str, str, str]]:
        delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
        try:
            for row in csv.DictReader(io.StringIO(text), delimiter=delimiter):
                told = {
                    str(key).strip().lower(): value for key, value in row.items() if isinstance(value, str)
                }
                picture, caption = _first(told, NAME_KEYS), _first(told, CAPTION_KEYS)
                if picture and caption is not None:
                    yield picture, caption, ""
        except csv.Error as error:
            self.notes.append(
                f"{self._shown(file)} is not a table that can be read ({reason_of(error)}); the rest of it was passed over."
            )

    def _rows_of_json(self, file: Path, text: str) -> Iterator[tuple[str, str, str]]:
        """sd-scripts' metadata: `{image path or stem: {"caption": ..., "tags": ...}}`; tags follow the caption."""
        try:
            data = json_text.read(text)
        except ValueError:
            self.unread[file] = "it is not valid JSON"
            return
        for key, value in data.items() if isinstance(data, dict) else ():
            if isinstance(value, dict):
                said = [
                    value[name]
                    for name in ("caption", "tags")
                    if isinstance(value.get(name), str) and value[name]
                ]
                if said:
                    yield str(key), ", ".join(said), ""


def _below(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else file.name


def _first(data: Any, keys: tuple[str, ...]) -> str | None:
    if not isinstance(data, Mapping):
        return None
    return next((data[key] for key in keys if isinstance(data.get(key), str)), None)
