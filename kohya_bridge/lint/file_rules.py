"""Rules about files and how they pair up (E3xx). One function each; `catalogue.py` lists them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from ..dataset_folder import CAPTIONS_NAME, IMAGES_NAME, LOCK_NAME, SIDECAR_SUFFIXES
from ..dataset_metadata import METADATA_NAME
from .finding import Examined, Hit


def no_pictures(seen: Examined) -> Iterator[Hit]:
    """Nothing to train on."""
    if not seen.items:
        yield Hit("", f"There is no picture in {IMAGES_NAME}/.")


def few_or_many(seen: Examined) -> Iterator[Hit]:
    """An unusual number of pictures for one character."""
    count = len(seen.items)
    if 0 < count < seen.settings.min_pictures:
        yield Hit("", f"There are {count} pictures; {seen.settings.min_pictures} or more hold a character better.")  # fmt: skip
    elif count > seen.settings.max_pictures:
        yield Hit("", f"There are {count} pictures; more than {seen.settings.max_pictures} rarely help one character.")  # fmt: skip


def row_without_picture(seen: Examined) -> Iterator[Hit]:
    """A caption line whose picture is gone."""
    for subject, _ in seen.problems("row_without_picture"):
        yield Hit(subject, f"{CAPTIONS_NAME} has a caption for it, but there is no such picture in {IMAGES_NAME}/.")  # fmt: skip


def orphan_caption(seen: Examined) -> Iterator[Hit]:
    """A caption file beside no picture."""
    stems = {PurePosixPath(item.name).stem for item in seen.items}
    for name in seen.dataset.others:
        path = PurePosixPath(name)
        if path.parent.name == IMAGES_NAME and path.suffix in SIDECAR_SUFFIXES and path.stem not in stems:
            yield Hit(name, "The caption file has no picture of the same name.")


def escapes(seen: Examined) -> Iterator[Hit]:
    """A name or a link that leads out of the dataset."""
    for subject, _ in seen.problems("outside"):
        yield Hit(subject, "The link leads out of the dataset's folder; it was not followed.")
    for subject, _ in seen.problems("row_escapes"):
        yield Hit(subject, f"{CAPTIONS_NAME} names a path; only plain file names are allowed.")


def not_a_file(seen: Examined) -> Iterator[Hit]:
    """A pipe, a device, a broken link, or a folder that can't be listed."""
    for subject, _ in seen.problems("not_a_file"):
        yield Hit(subject, "It is not a plain file (a broken link, a pipe or a device).")
    for subject, why in seen.problems("unlistable"):
        yield Hit(subject, f"The folder can't be listed: {why}.")


def ignored_picture(seen: Examined) -> Iterator[Hit]:
    """A picture that no engine will find: wrong place or an ending that is not looked for."""
    for name in seen.dataset.others:
        path = PurePosixPath(name)
        if path.suffix.lower() not in _PICTURE_SUFFIXES or path.name.startswith("."):
            continue
        if path.parent.as_posix() != IMAGES_NAME:
            if path.parts[0] not in ("originals", "masks"):
                yield Hit(name, f"The picture is not directly in {IMAGES_NAME}/ and is left out.", f"Move it to {IMAGES_NAME}/.")  # fmt: skip
        else:
            yield Hit(name, f"Pictures ending in {path.suffix!r} are not looked for and are left out.")


_PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".jxl", ".heic"}  # fmt: skip
KNOWN_FILES = {CAPTIONS_NAME, METADATA_NAME, LOCK_NAME}
