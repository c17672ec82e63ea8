"""A dataset: pictures of one character with their captions, as a plain folder.

    <slug>/images/*.png        the pictures
    <slug>/captions.jsonl      {"file_name": "0001-3fa9c1d2b07e.png", "prompt": "char_wren, smiling"}
    <slug>/metadata.yaml       licence, source, trigger, waivers
    <slug>/dataset.lock.json   what was trained or published

In: a workspace and a name, or pictures to make a dataset of. Out: a frozen `Dataset`, its digest.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from .captions import CaptionRow, locked, more_of, parse_captions, plain_caption, write_captions
from .counted import counted
from .datasets.dataset_folder import (
    CAPTIONS_NAME,
    IMAGES_NAME,
    MAX_CAPTIONS_BYTES,
    Dataset,
    DatasetItem,
    ReadingProblem,
    read_dataset,
)
from .datasets.dataset_metadata import METADATA_NAME, DatasetMetadata, write_metadata
from .datasets.pictures import pixel_digest, upright
from .errors import InvalidInput, NotFound, StorageError
from .files import Tree
from .moving import move_between
from .reasons import reason_of
from .workspace import Workspace, file_sha256

if TYPE_CHECKING:
    from PIL.Image import Image

INCOMING_NAME = ".incoming"

__all__ = [
    "Dataset",
    "DatasetItem",
    "DatasetMetadata",
    "ReadingProblem",
    "dataset_digest",
    "export_pictures",
    "find_dataset",
    "list_datasets",
    "read_dataset",
    "store_picture",
]


def find_dataset(workspace: Workspace, slug: str) -> Dataset:
    """The dataset of that name in the workspace. Raises InvalidInput, NotFound (which lists what there is)."""
    dir = workspace.dataset_dir(slug)
    if not dir.is_dir():
        known = ", ".join(list_datasets(workspace)) or "none yet"
        raise NotFound(f"There is no dataset {slug!r}.", f"Datasets: {known}.")
    return read_dataset(dir)


def list_datasets(workspace: Workspace) -> list[str]:
    """Names of the workspace's dataset folders, in order."""
    if not workspace.datasets_dir.is_dir():
        return []
    return sorted(
        each.name for each in workspace.datasets_dir.iterdir()
        if each.is_dir() and not each.name.startswith(".") and (each / IMAGES_NAME).is_dir()
    )  # fmt: skip


def dataset_digest(dataset: Dataset, *, cache_dir: Path | None = None) -> str:
    """SHA-256 in hex over every picture's name, bytes and caption; moving or renaming the folder does not change it.

    With `cache_dir` the hashes of unchanged pictures are not computed again.
    """
    return digest_of_hashes(
        (item.name, file_sha256(item.file, cache_dir=cache_dir), caption_sha256(item.caption))
        for item in dataset.items
    )


def digest_of_hashes(rows: Iterable[tuple[str, str, str]]) -> str:
    """The digest of a dataset from its `(name, picture's SHA-256, caption's SHA-256)` rows, in name order."""
    lines = "".join(f"{name}\n{picture}\n{caption}\n" for name, picture, caption in rows)
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def caption_sha256(caption: str) -> str:
    return hashlib.sha256(caption.encode("utf-8", "surrogatepass")).hexdigest()


def export_pictures(
    workspace: Workspace,
    slug: str,
    pictures: Iterable[Image],
    captions: Iterable[str | CaptionRow],
    *,
    mode: Literal["append", "replace"] = "append",
    metadata: DatasetMetadata | None = None,
) -> Dataset:
    """Write pictures with their captions into the dataset and return it as it now is.

    A file is named by its place and content (`0007-3fa9c1d2.png`). A picture that is there already is not written again
    and keeps its caption; no file is ever overwritten. `replace` moves the old pictures and captions to the workspace's
    trash first. Without `metadata` an existing `metadata.yaml` stays.

    Raises:
        InvalidInput: not one caption for each picture (one for all is fine), or no picture.
        StorageError, Conflict: the disk is full, or another program writes to this dataset.
    """
    dir = workspace.dataset_dir(slug)
    pictures = pictures if isinstance(pictures, Sequence) else list(pictures)
    given = list(captions)
    if not pictures:
        raise InvalidInput("There is no picture to export.", "Connect an image.")
    if len(given) not in (1, len(pictures)):
        raise InvalidInput(
            f"There are {counted(len(pictures), 'picture')} and {counted(len(given), 'caption')}.",
            "Give one caption for each picture, or one for all.",
        )
    given = given if len(given) == len(pictures) else given * len(pictures)
    with locked(workspace.datasets_dir / slug):
        rows = existing_rows(dir) if mode == "append" else {}
        files, folder = Tree(dir), IMAGES_NAME if mode == "append" else INCOMING_NAME
        try:
            files.clear(INCOMING_NAME)
            for picture, caption in zip(pictures, given, strict=True):
                name, is_new = _store(files, folder, picture)
                if is_new or not rows.get(name, CaptionRow("", "")).prompt:
                    rows[name] = replace(_row_for(name, caption), more=more_of(rows.get(name)))
        except OSError as error:
            raise StorageError(
                f"The picture could not be written: {reason_of(error)}.",
                f"Free disk space or correct the permissions of {dir.name}/; what was exported before is kept.",
            ) from error
        if mode == "replace":
            to_trash(workspace, dir)
            files.move(INCOMING_NAME, IMAGES_NAME)
        write_captions(dir / CAPTIONS_NAME, rows.values())
        if metadata or not (dir / METADATA_NAME).exists():
            named = (metadata or DatasetMetadata()).model_copy(update={"slug": slug})
            write_metadata(dir / METADATA_NAME, named)
    return read_dataset(dir)


def existing_rows(dir: Path) -> dict[str, CaptionRow]:
    """The rows of a dataset's captions.jsonl by file name. Raises InvalidInput for a line that rewriting would lose."""
    try:
        rows, bad = parse_captions(Tree(dir).read_bytes(CAPTIONS_NAME, most=MAX_CAPTIONS_BYTES))
    except FileNotFoundError:
        return {}
    if bad:
        raise InvalidInput(
            f"{CAPTIONS_NAME} of {dir.name} has {counted(len(bad), 'bad line')}; the first is line {bad[0].line}: {bad[0].problem}.",
            "Correct them first (Dataset Lint lists them): writing the file anew would lose those lines.",
        )
    return {row.file_name: row for row in rows}


def _row_for(name: str, caption: str | CaptionRow) -> CaptionRow:
    if isinstance(caption, CaptionRow):
        return CaptionRow(name, caption.prompt, caption.negative_prompt, caption.trigger, caption.source)
    return CaptionRow(name, plain_caption(caption), source="person")


def _store(files: Tree, folder: str, picture: Image) -> tuple[str, bool]:
    """Write a picture as PNG under its own name: `(name, whether it is new)`. An equal picture is found by its hash.

    It is turned upright first: Pillow's PNG drops the EXIF tag that would say how it has to be turned.
    """
    picture = upright(picture)
    return store_picture(
        files,
        folder,
        digest=pixel_digest(picture),
        suffix=".png",
        write=lambda stream: picture.save(stream, format="PNG"),
    )


def store_picture(
    files: Tree, folder: str, *, digest: str, suffix: str, write: Callable[[BinaryIO], object]
) -> tuple[str, bool]:
    """Give a picture with that `pixel_digest` its place in a folder of the dataset `files`: `(file name, whether it is new)`.
    No file is ever overwritten.

    The caller holds the dataset's lock. Raises OSError.
    """
    names = [each.name for each in files.entries(files.make(folder))]
    there = next((name for name in names if Path(name).stem.endswith(f"-{digest[:12]}")), None)
    if there:
        return there, False
    numbers = [int(name[:4]) for name in names if name[:4].isdecimal()]
    name = f"{max(numbers, default=0) + 1:04d}-{digest[:12]}{suffix}"
    with files.writing(f"{folder}/{name}") as stream:
        write(stream)
    return name, True


def to_trash(workspace: Workspace, dir: Path) -> None:
    """Move pictures and captions aside in one rename each; `metadata.yaml` stays."""
    if not (dir / IMAGES_NAME).is_dir():
        return
    aside = Path("datasets") / f"{dir.name}-{time.time_ns()}"
    for name in (IMAGES_NAME, CAPTIONS_NAME):
        if os.path.lexists(dir / name):
            move_between(Tree(dir), name, Tree(workspace.trash_dir), aside / name)
