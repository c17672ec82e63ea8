"""Moving what lies in one tree into another: a deleted run or old pictures into the trash, which may be on another disk.

In: two trees and names in them. Out: the same files under the new name. A link is moved as a link; pipes and devices, which
no tool of ours makes, are not carried from disk to disk.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from . import disk
from .errors import StorageError, UnusableFile
from .files import Tree
from .reasons import reason_of


def move_between(source: Tree, name: Path | str, target: Tree, new_name: Path | str) -> Path:
    """Move a file or a folder with all that is in it. Returns where it is now.

    Raises:
        StorageError: it is in use (Windows), the target exists, or one of the two places can't be written.
    """
    start, end = source.path(name), target.path(new_name)
    target.make(end.parent)
    if os.path.lexists(end):
        raise StorageError(f"{end.name} is there already.", f"Move it away from {end.parent}.")
    try:
        _move(start, end)
    except UnusableFile:
        raise
    except OSError as error:
        raise StorageError(
            f"{start.name} could not be moved to {end.parent.name}: {reason_of(error)}.",
            "Close what has files of it open, or free disk space, and try again.",
        ) from error
    return end


def _move(start: Path, end: Path) -> None:
    try:
        disk.replace(start, end)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        if disk.is_folder(os.lstat(start)):
            shutil.copytree(start, end, symlinks=True, ignore=_odd)
            disk.delete_folder(start)
        else:
            shutil.copy2(start, end, follow_symlinks=False)
            disk.delete(start)


def _odd(folder: str, names: list[str]) -> set[str]:
    """Names in a folder that are neither files, folders nor links."""
    found = {name: os.lstat(os.path.join(folder, name)) for name in names}
    return {
        name
        for name, each in found.items()
        if not (disk.is_plain(each) or disk.is_folder(each) or disk.is_link(each))
    }
