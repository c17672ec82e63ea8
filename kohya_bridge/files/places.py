"""Where a file of a folder lies, and what stands there: the proof that a name does not lead out.

In: a folder that is trusted as it is, and a name below it. Out: a path with real folders on its way, or UnusableFile. It opens and
changes nothing, but for the folders that `look` is asked to make. Standard library only.
"""

from __future__ import annotations

import os
from pathlib import Path

from .. import disk
from ..breathing import breathe
from ..errors import UnusableFile
from .refusals import REMOVE, leads_out, no_folder, raise_told, refuse_odd, unusable


def place_in(folder: Path, file: Path | str) -> Path:
    """Where `file` lies: below `folder` by its name, or by another name of `folder` (a link to a larger disk)."""
    full = folder / file
    if "\0" in str(full):
        raise leads_out(full, folder)
    if not full.is_relative_to(folder):
        full = _respelled(folder, full)
    if ".." in full.relative_to(folder).parts:
        raise leads_out(full, folder)
    return full


def look(folder: Path, full: Path, *, make: bool = False) -> os.stat_result | None:
    """What stands at `full` itself, None for nothing. Every folder on the way must be a real one; `make` makes them."""
    breathe()
    here, found = folder, None
    try:
        found = os.stat(here)
        for name in full.relative_to(folder).parts:
            if here != folder and not disk.is_folder(found):
                raise no_folder(here, found)
            here = here / name
            found = disk.make_and_look(here) if make else os.lstat(here)
    except UnusableFile:
        raise
    except (FileNotFoundError, NotADirectoryError):  # the latter where `folder` itself can't be
        return None
    except OSError as error:
        raise_told(here, error, "could not be opened")
    return found


def plain_in(folder: Path, file: Path | str) -> Path:
    """The path of a plain file that is there. Links that stay in `folder` are resolved. Raises FileNotFoundError."""
    full = place_in(folder, file)
    try:
        found = look(folder, full)
        follow = found is not None and disk.is_link(found)
    except UnusableFile:
        follow = _has_links(folder, full)
        if not follow:
            raise
    if follow:
        full = _end_of(folder, full)
        found = os.lstat(full)
    if found is None:
        raise FileNotFoundError(2, os.strerror(2), str(full))
    refuse_odd(full, found)
    return full


def _respelled(folder: Path, full: Path) -> Path:
    end, root = Path(os.path.realpath(full.parent)) / full.name, os.path.realpath(folder)
    if ".." in full.parts or not end.is_relative_to(root):
        raise leads_out(full, folder)
    return folder / end.relative_to(root)


def _has_links(folder: Path, full: Path) -> bool:
    straight = Path(os.path.realpath(folder)) / full.relative_to(folder)
    return Path(os.path.realpath(full)) != straight


def _end_of(folder: Path, full: Path) -> Path:
    """Where a link, or a path through links, ends: in this folder, or it is unusable."""
    end = Path(os.path.realpath(full))
    if not end.is_relative_to(os.path.realpath(folder)):
        raise unusable(full, f"is a link that leads out of {folder.name}/", REMOVE)
    if not os.path.lexists(end):
        raise unusable(full, "is a link that leads nowhere", REMOVE)
    return end
