"""What is said of a file that can't be used: its name, what is wrong with it, and what to do. Standard library only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

from .. import disk
from ..errors import UnusableFile
from ..reasons import reason_of, way_out

DAMAGED = "It was damaged; bring back an older copy, or move it away."
REMOVE = "Move it away: in such a folder only plain files and folders of its own are used."


def unusable(file: Path, problem: str, fix: str) -> UnusableFile:
    return UnusableFile(f"{file.name} {problem}.", fix)


def leads_out(file: Path, folder: Path) -> UnusableFile:
    return unusable(file, f"leads out of {folder.name}/", "Take that name out of the record.")


def no_folder(place: Path, found: os.stat_result) -> UnusableFile:
    return unusable(place, f"is {disk.kind_of(found)} where a folder belongs", REMOVE)


def refuse_odd(file: Path, found: os.stat_result) -> None:
    """Raise UnusableFile for what is no plain file: a folder, a link, a pipe, a socket, a device."""
    if not disk.is_plain(found):
        raise unusable(file, f"is {disk.kind_of(found)} where a file belongs", REMOVE)


def raise_told(file: Path, error: OSError, what: str) -> NoReturn:
    """The system's error in words. It stays the cause, so that a full disk is known as one."""
    told = UnusableFile(
        f"{file.name} {what}: {reason_of(error)}.",
        f"{way_out(error)} Nothing in {file.parent} was changed.",
    )
    told.errno = error.errno
    raise told from error
