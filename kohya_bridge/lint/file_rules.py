"""Rules about files and how they pair up (E3xx). One function each; `catalogue.py` lists them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import PurePosixPath

from ..counted import counted
from ..datasets.dataset_folder import CAPTIONS_NAME, IMAGES_NAME, MASKS_NAME, SIDECAR_SUFFIXES
from ..datasets.pictures import SUFFIX_OF
from ..workspace import RESERVED_ON_WINDOWS
from .finding import Examined, Hit


def no_pictures(seen: Examined) -> Iterator[Hit]:
    """Nothing to train on."""
    if not seen.items:
        yield Hit("", f"There is no picture in {IMAGES_NAME}/.")


def few_or_many(seen: Examined) -> Iterator[Hit]:
    """An unusual number of pictures for one character."""
    count = len(seen.items)
    if 0 < count < seen.settings.min_pictures:
        yield Hit("", f"There are {counted(count, 'picture')}; {seen.settings.min_pictures} or more teach a character better.")  # fmt: skip
    elif count > seen.settings.max_pictures:
        yield Hit("", f"There are {counted(count, 'picture')}; more than {seen.settings.max_pictures} rarely help one character.")  # fmt: skip


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
        yield Hit(subject, "It is a link that leads out of the dataset's folder, and was not followed.")
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
            if path.parts[0] != MASKS_NAME:
                yield Hit(name, f"The picture is not directly in {IMAGES_NAME}/ and is left out.", f"Move it to {IMAGES_NAME}/.")  # fmt: skip
        else:
            yield Hit(name, f"Pictures ending in {path.suffix!r} are not looked for and are left out.")


def same_stem(seen: Examined) -> Iterator[Hit]:
    """Two pictures that differ in their ending only."""
    by_stem = defaultdict(list)
    for item in seen.items:
        by_stem[PurePosixPath(item.name).stem].append(item.name)
    for names in by_stem.values():
        for name in names[1:]:
            yield Hit(
                name,
                f"It has the same name as {names[0]} but for the ending, so both share caption file and cache.",
            )


def borrowed_caption(seen: Examined) -> Iterator[Hit]:
    """A name with five or more parts, for which sd-scripts looks up another picture's caption."""
    sidecars = {name for name in seen.dataset.others if name.endswith(SIDECAR_SUFFIXES)}
    for item in seen.items:
        parts = PurePosixPath(item.name).stem.split("_")
        if item.source or len(parts) < 5:
            continue
        short = f"{IMAGES_NAME}/{'_'.join(parts[:-4])}"
        taken = next((short + suffix for suffix in SIDECAR_SUFFIXES if short + suffix in sidecars), None)
        if taken:
            yield Hit(item.name, f"It has no caption of its own, and sd-scripts would take {taken}.")


def wrong_ending(seen: Examined) -> Iterator[Hit]:
    """A file whose content is another format than its ending says."""
    for item, facts in seen.readable():
        if not item.name.lower().endswith(SUFFIX_OF.get(facts.format, ())):
            yield Hit(item.name, f"By its content the file is in the format {facts.format}.")


def awkward_name(seen: Examined) -> Iterator[Hit]:
    """A file name that some system or tool can't take."""
    by_lower = defaultdict(list)
    for item in seen.items:
        by_lower[item.name.lower()].append(item.name)
        stem = PurePosixPath(item.name).stem
        if not item.name.isascii():
            yield Hit(item.name, "The name has other letters than a-z, 0-9 and plain signs.")
        elif not item.name.isprintable():
            yield Hit(item.name, "The name has control characters.")
        elif re.search(r'[<>:"|?*\\]| $|^ |\.\.', item.name) or stem.lower() in RESERVED_ON_WINDOWS:
            yield Hit(item.name, "Windows does not allow this name.")
        elif len(item.name) > MAX_NAME:
            yield Hit(
                item.name,
                f"The name has {counted(len(item.name), 'character')}, and the names of caches are longer still.",
            )
    for names in by_lower.values():
        if len(names) > 1:
            yield Hit(
                names[1], f"Windows and macOS take it for {names[0]}, which differs in capital letters only."
            )


def junk(seen: Examined) -> Iterator[Hit]:
    """Files that systems and editors leave behind."""
    for name in seen.dataset.others:
        if is_junk(PurePosixPath(name)):
            yield Hit(name, "The file belongs to a system or an editor, not to the dataset.")


def stale_cache(seen: Examined) -> Iterator[Hit]:
    """A cache of latents or sizes beside the pictures."""
    for name in seen.dataset.others:
        if is_cache(PurePosixPath(name)):
            yield Hit(name, "It is a cache that sd-scripts left beside the pictures.")


def is_junk(path: PurePosixPath) -> bool:
    """Whether a file of that name is a system's or an editor's."""
    hidden = path.name.startswith(".") and not path.name.endswith(".lock")
    return path.name in JUNK or hidden or path.name.endswith(("~", ".bak", ".tmp"))


def is_cache(path: PurePosixPath) -> bool:
    """Whether a file of that name, relative to its dataset, is a cache that sd-scripts leaves beside the pictures."""
    return path.parent.as_posix() == IMAGES_NAME and (
        path.suffix == ".npz" or path.name == "metadata_cache.json"
    )


def orphan_mask(seen: Examined) -> Iterator[Hit]:
    """A mask for no picture."""
    stems = {PurePosixPath(item.name).stem for item in seen.items}
    for name in seen.dataset.others:
        path = PurePosixPath(name)
        if (
            path.parts[0] == MASKS_NAME
            and path.suffix.lower() in _PICTURE_SUFFIXES
            and path.stem not in stems
        ):
            yield Hit(name, "The mask has no picture of the same name.")


MAX_NAME = 120
JUNK = {".DS_Store", "Thumbs.db", "desktop.ini", "ehthumbs.db"}
_PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".jxl", ".heic"}  # fmt: skip
