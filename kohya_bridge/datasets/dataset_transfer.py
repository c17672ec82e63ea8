"""Bringing a folder of pictures into the workspace, and writing a dataset out as other tools want it.

In: a folder that any of `foreign_captions` reads, or a dataset. Out: a dataset, or a folder for kohya, for Hugging Face, flat
with sidecar files, or with sd-scripts' metadata JSON. Sources are never changed; pictures are copied byte for byte where
a trainer can read them as they are.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .. import json_text
from ..captions import CaptionRow, locked, more_of, write_captions
from ..counted import counted
from ..dataset import INCOMING_NAME, existing_rows, read_dataset, store_picture, to_trash
from ..errors import BridgeError, Conflict, InvalidInput, NotFound, StorageError
from ..files import Tree, open_named, read_named, write_atomically
from ..reasons import reason_of
from ..trigger import ensure_first
from ..workspace import Workspace
from .dataset_folder import CAPTIONS_NAME, IMAGES_NAME, Dataset
from .dataset_metadata import METADATA_NAME, DatasetMetadata, read_metadata, write_metadata
from .foreign_captions import ForeignPicture, read_foreign
from .picture_colours import as_seen, repairs_of_colours
from .pictures import MAX_BYTES, SUFFIX_OF, PictureFacts, file_pixel_digest, inspect_picture, pixel_digest

EXPORT_FORMATS = ("kohya", "flat", "huggingface", "in_json")
COPIED_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")


@dataclass(frozen=True)
class Imported:
    """What an import did. `names` maps each source file (relative) to its name in the dataset; `notes` are sentences on
    what was changed; `passed_over` has every other file of the source with the end of a sentence that says why; `repeats` is what
    kohya's folder names asked for."""

    dataset: Dataset
    kind: str
    names: dict[str, str]
    notes: tuple[str, ...] = ()
    repeats: int = 1
    passed_over: tuple[tuple[str, str], ...] = ()

    def remarks(self) -> list[str]:
        """Notes, and a line for each reason why files were passed over, which names them."""
        return [*self.notes, *_by_reason(self.passed_over)]


def import_folder(
    workspace: Workspace,
    source: Path,
    slug: str,
    *,
    metadata: DatasetMetadata | None = None,
    mode: Literal["append", "replace"] = "append",
    caption_all: bool = False,
) -> Imported:
    """Copy the pictures of a folder with their captions into the dataset `slug`, beside what is there or in its place.

    A picture that is there already is not copied again and keeps its caption. Pictures that no trainer reads (GIF, TIFF, AVIF,
    HEIC) are converted to PNG, and so are those that are turned by a tag, of 16 bits or in other colours than sRGB, as they look; undecodable ones are left
    out with a note. What `metadata` says outranks the source's own `metadata.yaml`, and that what the dataset has. The
    trigger is put in front of captions that lack it; a picture without a caption gets the trigger alone with `caption_all`, else it stays without.

    Raises:
        NotFound, InvalidInput: no such folder, no picture in it that can be read (the reasons by kind of file), or a bad slug.
        StorageError, Conflict: the disk is full, or another program writes to this dataset.
    """
    if not source.is_dir():
        raise NotFound(f"There is no folder {source}.", "Name a folder that holds pictures.")
    dir = workspace.dataset_dir(slug)
    if source.resolve() == dir.resolve() or dir.resolve().is_relative_to(source.resolve()):
        raise InvalidInput("The folder contains the dataset itself.", "Import from somewhere else.")
    found = read_foreign(source, prefer=(metadata.lora_tag if metadata else "") or slug)
    if not found.pictures:
        reasons = " ".join(_by_reason(found.passed_over, most=3)) or "It is empty."
        raise InvalidInput(
            f"There is no picture in {source.name}. {reasons}", "Name a folder that holds pictures."
        )
    with locked(workspace.datasets_dir / slug):
        bringing = _Bringing(
            source.resolve(), Tree(dir), existing_rows(dir) if mode == "append" else {}, mode
        )
        settled = _settled(dir, slug, found.metadata, metadata)
        try:
            bringing.files.clear(INCOMING_NAME)
            for each in found.pictures:
                bringing.bring(each, settled.lora_tag, caption_all=caption_all)
        except OSError as error:
            raise StorageError(
                f"A picture could not be written: {reason_of(error)}.",
                "Free disk space and import again; pictures that are there are not copied twice.",
            ) from error
        if not bringing.names:  # before anything that is there is put away
            raise InvalidInput(
                f"No picture of {source.name} could be taken. {' '.join([*bringing.notes[:3], *_by_reason(found.passed_over, most=3)])}",
                "Name a folder that holds pictures, or bring these into a format that is read (PNG, JPEG, WebP).",
            )
        if mode == "replace":
            to_trash(workspace, dir)
            bringing.files.move(INCOMING_NAME, IMAGES_NAME)
        write_captions(dir / CAPTIONS_NAME, bringing.rows.values())
        says = any(each and each.model_dump(exclude_defaults=True) for each in (found.metadata, metadata))
        if says or not (dir / METADATA_NAME).exists():
            write_metadata(dir / METADATA_NAME, settled)
    repeats = max(each.repeats for each in found.pictures)
    notes = (*found.notes, *bringing.notes)
    return Imported(read_dataset(dir), found.kind, bringing.names, notes, repeats, found.passed_over)


def _settled(
    dir: Path, slug: str, of_source: DatasetMetadata | None, typed: DatasetMetadata | None
) -> DatasetMetadata:
    """What the dataset's `metadata.yaml` says afterwards: what was typed, else what the source says, else what stands there; but for the
    approval, which whoever types withdraws by leaving it out."""
    try:
        here = read_metadata(dir / METADATA_NAME)
    except (BridgeError, OSError):
        here = DatasetMetadata()  # lint tells of a damaged one, which only one that says something replaces
    if typed is not None:
        here = here.model_copy(update={"release_approved": False})
    for each in (of_source, typed):
        here = here.model_copy(update=each.model_dump(exclude_defaults=True) if each else {})
    return DatasetMetadata.model_validate({**here.model_dump(), "slug": slug})


def _by_reason(passed_over: Sequence[tuple[str, str]], *, most: int = 20) -> list[str]:
    reasons: dict[str, list[str]] = {}
    for name, reason in passed_over:
        reasons.setdefault(reason, []).append(name)
    return [
        f"{', '.join(names[:most])}{f' and {len(names) - most} more' if len(names) > most else ''}: passed over, {reason}."
        for reason, names in reasons.items()
    ]


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
            f"There is no export {format!r} with {counted(repeats, 'repeat')}.",
            f"Formats: {', '.join(EXPORT_FORMATS)}.",
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
        raise StorageError(f"{target} can't be written: {reason_of(error)}.", "Free disk space or choose another folder.") from error  # fmt: skip
    return written


def _plain(label: str) -> str:
    """A trigger and a class word, which may be any text, as the end of a folder's name."""
    return re.sub(r'[<>:"/\\|?*\x00-\x1f\x7f]', "_", label)[:100].rstrip(". ")


@dataclass
class _Bringing:
    """Pictures on their way into a dataset."""

    source: Path
    files: Tree
    rows: dict[str, CaptionRow]
    mode: str
    names: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def bring(self, picture: ForeignPicture, trigger: str, *, caption_all: bool) -> None:
        """Copy one picture with its caption. Raises OSError."""
        shown = picture.file.relative_to(self.source).as_posix()
        facts = inspect_picture(picture.file)
        if not facts.readable:
            self.notes.append(f"{shown}: left out, it can't be decoded ({facts.reason}).")
            return
        name, is_new = self._store(picture.file, facts, shown)
        self.names[shown] = name
        if not is_new:
            self.notes.append(f"{shown}: the same picture is there as {name}.")
        if is_new or name not in self.rows or not self.rows[name].prompt:
            said = picture.caption.strip() or caption_all
            caption = ensure_first(picture.caption, trigger) if said else ""
            self.rows[name] = CaptionRow(
                name,
                caption,
                picture.negative_prompt,
                trigger if caption else "",
                "import",
                more_of(self.rows.get(name)),
            )

    def _store(self, file: Path, facts: PictureFacts, shown: str) -> tuple[str, bool]:
        folder = IMAGES_NAME if self.mode == "append" else INCOMING_NAME
        odd = [rule for rule, _ in repairs_of_colours(facts)]
        is_turned = facts.orientation != 1
        if facts.format in COPIED_FORMATS and not (facts.animated or odd or is_turned):
            content = read_named(file, most=MAX_BYTES)
            return store_picture(
                self.files, folder, digest=file_pixel_digest(file), suffix=SUFFIX_OF[facts.format][0], write=lambda stream: stream.write(content)
            )  # fmt: skip
        still = as_seen(file)
        what = f"from {facts.profile or facts.mode} to 8-bit sRGB" if odd else f"from {facts.format} to PNG"
        why = f"{what}{', turned as its EXIF tag says' if is_turned else ''}"
        self.notes.append(f"{shown}: converted {why}{', first frame' if facts.animated else ''}.")
        return store_picture(
            self.files, folder, digest=pixel_digest(still), suffix=".png", write=lambda stream: still.save(stream, format="PNG")
        )  # fmt: skip


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
