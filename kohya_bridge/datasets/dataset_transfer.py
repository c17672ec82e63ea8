"""Bringing a folder of pictures into the workspace, and writing a dataset out as other tools want it.

In: a folder that any of `foreign_captions` reads, or a dataset. Out: a dataset, or a folder for kohya, for Hugging Face, flat
with sidecar files, or with sd-scripts' metadata JSON. Sources are never changed; pictures are copied byte for byte where
a trainer can read them as they are.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .. import json_text
from ..captions import CaptionRow, locked, write_captions
from ..dataset import existing_rows, read_dataset, store_picture
from ..errors import Conflict, InvalidInput, NotFound, StorageError
from ..files import Tree, open_named, read_named, write_atomically
from ..workspace import Workspace
from .dataset_folder import CAPTIONS_NAME, IMAGES_NAME, Dataset
from .dataset_metadata import METADATA_NAME, DatasetMetadata, write_metadata
from .foreign_captions import ForeignPicture, read_foreign
from .pictures import MAX_BYTES, SUFFIX_OF, file_pixel_digest, inspect_picture, opened

EXPORT_FORMATS = ("kohya", "flat", "huggingface", "in_json")
COPIED_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")


@dataclass(frozen=True)
class Imported:
    """What an import did. `names` maps each source file (relative) to its name in the dataset; `notes` are sentences on
    what was left out or changed; `repeats` is what kohya's folder names asked for."""

    dataset: Dataset
    kind: str
    names: dict[str, str]
    notes: tuple[str, ...] = ()
    repeats: int = 1


def import_folder(
    workspace: Workspace, source: Path, slug: str, *, metadata: DatasetMetadata | None = None
) -> Imported:
    """Copy the pictures of a folder with their captions into the dataset `slug`, beside what is there.

    A picture that is there already is not copied again and keeps its caption. Pictures that no trainer reads (GIF, TIFF,
    AVIF) are converted to PNG; undecodable ones are left out with a note.

    Raises:
        NotFound, InvalidInput: no such folder, no picture in it, or a bad slug.
        StorageError, Conflict: the disk is full, or another program writes to this dataset.
    """
    if not source.is_dir():
        raise NotFound(f"There is no folder {source}.", "Name a folder that holds pictures.")
    dir = workspace.dataset_dir(slug)
    if source.resolve() == dir.resolve() or dir.resolve().is_relative_to(source.resolve()):
        raise InvalidInput("The folder contains the dataset itself.", "Import from somewhere else.")
    found = read_foreign(source)
    if not found.pictures:
        raise InvalidInput(f"There is no picture in {source}.", "Name a folder that holds pictures.")
    names: dict[str, str] = {}
    notes = list(found.notes)
    with locked(workspace.datasets_dir / slug):
        rows = existing_rows(dir)
        try:
            for each in found.pictures:
                _bring(each, source.resolve(), dir, rows, names, notes)
        except OSError as error:
            raise StorageError(
                f"A picture could not be written: {error.strerror or error}.",
                "Free disk space and import again; pictures that are there are not copied twice.",
            ) from error
        write_captions(dir / CAPTIONS_NAME, rows.values())
        if metadata or not (dir / METADATA_NAME).exists():
            write_metadata(dir / METADATA_NAME, (metadata or DatasetMetadata()).model_copy(update={"slug": slug}))  # fmt: skip
    repeats = max(each.repeats for each in found.pictures)
    return Imported(read_dataset(dir), found.kind, names, tuple(notes), repeats)


def export_dataset(
    dataset: Dataset,
    target: Path,
    *,
    format: Literal["kohya", "flat", "huggingface", "in_json"],
    repeats: int = 1,
) -> list[Path]:
    """Write the dataset into a new or empty folder in another tool's form; returns the files written, in order.

    Raises:
        InvalidInput: an unknown format, or repeats below 1.
        Conflict: the folder has content already.
        StorageError: it can't be written.
    """
    if format not in EXPORT_FORMATS or repeats < 1:
        raise InvalidInput(
            f"There is no export {format!r} with {repeats} repeats.", f"Formats: {', '.join(EXPORT_FORMATS)}."
        )
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Conflict(f"{target} is not empty.", "Name a new folder.")
    folder = target
    if format == "kohya":
        label = f"{dataset.trigger or dataset.slug} {dataset.metadata.class_word}".strip()
        folder = target / f"{repeats}_{_plain(label)}"
    try:
        Tree(folder).make()
        written = [_copied(item.file, Tree(folder), item.name) for item in dataset.items]
        written += _captions_as(dataset, folder, format)
    except OSError as error:
        raise StorageError(f"{target} can't be written: {error.strerror or error}.", "Free disk space or choose another folder.") from error  # fmt: skip
    return written


def _plain(label: str) -> str:
    """A trigger and a class word, which may be any text, as the end of a folder's name."""
    return re.sub(r'[<>:"/\\|?*\x00-\x1f\x7f]', "_", label)[:100].rstrip(". ")


def _bring(
    picture: ForeignPicture, source: Path, dir: Path, rows: dict[str, CaptionRow], names: dict[str, str],
    notes: list[str],
) -> None:  # fmt: skip
    shown = picture.file.relative_to(source).as_posix()
    facts = inspect_picture(picture.file)
    if not facts.readable:
        notes.append(f"{shown}: left out, it can't be decoded ({facts.reason}).")
        return
    digest = file_pixel_digest(picture.file)
    if facts.format in COPIED_FORMATS and not facts.animated:
        suffix = SUFFIX_OF[facts.format][0]
        content = read_named(picture.file, most=MAX_BYTES)
        name, is_new = store_picture(
            Tree(dir), IMAGES_NAME, digest=digest, suffix=suffix, write=lambda stream: stream.write(content)
        )  # fmt: skip
    else:
        notes.append(
            f"{shown}: converted from {facts.format} to PNG{', first frame' if facts.animated else ''}."
        )
        with open_named(picture.file) as stream, opened(stream) as foreign:
            foreign.load()
            still = foreign.convert("RGBA" if facts.transparent else "RGB")
        name, is_new = store_picture(
            Tree(dir), IMAGES_NAME, digest=digest, suffix=".png", write=lambda stream: still.save(stream, format="PNG")
        )  # fmt: skip
    names[shown] = name
    if not is_new:
        notes.append(f"{shown}: the same picture is there as {name}.")
    if is_new or name not in rows or not rows[name].prompt:
        rows[name] = CaptionRow(name, picture.caption, source="import")


def _copied(source: Path, target: Tree, name: str) -> Path:
    with open_named(source) as content, target.writing(name, durable=False) as stream:
        shutil.copyfileobj(content, stream)
    return target.path(name)


def _captions_as(dataset: Dataset, folder: Path, format: str) -> list[Path]:
    captioned = [item for item in dataset.items if item.caption.strip()]
    if format == "huggingface":
        lines = [json_text.write({"file_name": item.name, "text": item.caption}, ensure_ascii=False) for item in dataset.items]  # fmt: skip
        return [write_atomically(folder / "metadata.jsonl", "\n".join(lines) + "\n")]
    if format == "in_json":
        table = {os.path.splitext(item.name)[0]: {"caption": item.caption} for item in dataset.items}
        return [
            write_atomically(folder / "meta_cap.json", json_text.write(table, indent=1, ensure_ascii=False))
        ]
    return [
        write_atomically((folder / item.name).with_suffix(".txt"), " ".join(item.caption.split("\n")))
        for item in captioned
    ]
