"""Captions as other tools keep them, found in a folder of pictures.

In: a folder: kohya's `10_name class` folders, flat pictures with `.txt` or `.caption`, Hugging Face's `metadata.jsonl`,
sd-scripts' metadata JSON (`in_json`), or our own `captions.jsonl`. Out: pictures with their captions, in name order, and
notes on what could not be taken as it was. Nothing is written.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..captions import parse_captions
from ..errors import UnusableFile
from ..files import Tree
from .dataset_folder import CAPTIONS_NAME, IMAGES_NAME, SIDECAR_SUFFIXES

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
KOHYA_FOLDER = re.compile(r"(\d{1,4})_(.+)")
MAX_TABLE_BYTES, MAX_SIDECAR_BYTES = 64 << 20, 64 << 10
CAPTION_KEYS = ("prompt", "text", "caption", "tags")


@dataclass(frozen=True)
class ForeignPicture:
    """One picture; `repeats` is what its kohya folder says, else 1."""

    file: Path
    caption: str = ""
    repeats: int = 1


@dataclass(frozen=True)
class ForeignFolder:
    """What a folder holds. `kind` is `kohya`, `huggingface`, `in_json`, `captions.jsonl` or `sidecars`."""

    kind: str
    pictures: tuple[ForeignPicture, ...]
    notes: tuple[str, ...] = ()


def read_foreign(folder: Path) -> ForeignFolder:
    """Every picture in the folder with the caption that it has there. Links that lead out are passed over with a note.

    Tables win over sidecar files; a picture that no table names keeps its sidecar.
    """
    folder = folder.resolve()
    notes: list[str] = []
    files = Tree(folder)
    inside = _pictures(files, notes)
    kind, table = _table(files, notes)
    repeated = {each: int(match[1]) for each in sorted(folder.iterdir()) if each.is_dir() and (match := KOHYA_FOLDER.fullmatch(each.name))}  # fmt: skip
    if match := KOHYA_FOLDER.fullmatch(folder.name):
        repeated[folder] = int(match[1])
    pictures = []
    for file in inside:
        caption = _from_table(table, file, folder)
        if caption is None:
            caption = _from_sidecar(files, file, notes)
        pictures.append(ForeignPicture(file, caption, repeated.get(file.parent, 1)))
    if not table and any(file.parent in repeated for file in inside):
        kind = "kohya"
    return ForeignFolder(kind, tuple(pictures), tuple(notes))


def _pictures(tree: Tree, notes: list[str]) -> list[Path]:
    found = []
    for root, dirs, files in os.walk(tree.dir):
        linked = {each for each in dirs if not tree.is_folder(Path(root, each))}
        notes += [f"{each}: the link to another folder was not followed." for each in sorted(linked)]
        dirs[:] = sorted(each for each in dirs if not each.startswith(".") and each not in linked)
        for name in sorted(files):
            file = Path(root, name)
            if not name.lower().endswith(PICTURE_SUFFIXES) or name.startswith("."):
                continue
            if not file.resolve().is_relative_to(tree.dir):
                notes.append(f"{name}: the link leads out of the folder and was not followed.")
            elif tree.is_file(file):
                found.append(file)
    return found


def _table(tree: Tree, notes: list[str]) -> tuple[str, dict[str, str]]:
    for parent in (tree.dir, tree.dir / IMAGES_NAME):
        for name, kind in ((CAPTIONS_NAME, CAPTIONS_NAME), ("metadata.jsonl", "huggingface")):
            raw = _read(tree, parent / name, notes)
            if raw is not None:
                return kind, _rows(name, raw, notes)
    for file in tree.entries():
        raw = _read(tree, file, notes) if file.suffix == ".json" else None
        if raw is not None and (rows := _in_json(raw)):
            return "in_json", rows
    return "sidecars", {}


def _read(tree: Tree, file: Path, notes: list[str], *, most: int = MAX_TABLE_BYTES) -> bytes | None:
    """The content of a file of the folder; None with a note for one that can't be read, and without one where none is."""
    try:
        return tree.read_bytes(file, most=most)
    except FileNotFoundError:
        return None
    except UnusableFile as error:
        notes.append(f"{error.problem.rstrip('.')}, not read.")
        return None


def _rows(name: str, raw: bytes, notes: list[str]) -> dict[str, str]:
    """`captions.jsonl` and Hugging Face's form: one object a line, with file_name and one of several caption keys."""
    rows = {row.file_name: row.prompt for row in parse_captions(raw)[0]}
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
        except (ValueError, RecursionError):
            notes.append(f"{name} line {number}: not valid JSON, passed over.")
            continue
        picture = data.get("file_name") if isinstance(data, dict) else None
        caption = _caption_of(data) if isinstance(data, dict) else None
        if isinstance(picture, str) and caption is not None:
            rows.setdefault(picture, caption)
    return rows


def _in_json(raw: bytes) -> dict[str, str]:
    """sd-scripts' metadata: `{image path or stem: {"caption": ..., "tags": ...}}`; tags follow the caption."""
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(data, dict):
        return {}
    rows = {}
    for key, value in data.items():
        if isinstance(value, dict):
            said = [
                value[name]
                for name in ("caption", "tags")
                if isinstance(value.get(name), str) and value[name]
            ]
            if said:
                rows[key] = ", ".join(said)
    return rows


def _caption_of(data: dict[str, Any]) -> str | None:
    return next((data[key] for key in CAPTION_KEYS if isinstance(data.get(key), str)), None)


def _from_table(table: dict[str, str], file: Path, folder: Path) -> str | None:
    relative = file.relative_to(folder).as_posix()
    for key in (relative, file.name, str(file), file.stem, relative.rpartition(".")[0]):
        if key in table:
            return table[key]
    return None


def _from_sidecar(tree: Tree, file: Path, notes: list[str]) -> str:
    sidecar = next((file.with_suffix(each) for each in SIDECAR_SUFFIXES if os.path.lexists(file.with_suffix(each))), None)  # fmt: skip
    raw = _read(tree, sidecar, notes, most=MAX_SIDECAR_BYTES) if sidecar else None
    if sidecar is None or raw is None:
        return ""
    try:
        return raw.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        notes.append(f"{sidecar.name}: not UTF-8; read as Windows-1252, check its accents.")
        return raw.decode("cp1252", "replace").strip()
