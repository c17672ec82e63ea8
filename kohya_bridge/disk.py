"""The disk's own calls, where they differ between systems: what an entry is, opening without following, replacing, deleting.

In: paths. Out: what the system answers, and its own OSErrors. Windows does not replace or delete what somebody has open, so
these calls ask again for a while there. Which folder may be touched is `files.Tree`'s business. Standard library only.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

PATIENCE_S = 3.0
"""How long Windows may refuse to replace or delete a file because somebody reads it at that moment."""

on_windows = sys.platform == "win32"
_NAME_SURROGATE = (
    0x20000000  # reparse points that stand for another place: links, junctions; not OneDrive's files
)
_DIRECTORY_ATTRIBUTE = 0x10
_GUARD = sum(
    getattr(os, name, 0)
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_NOINHERIT", "O_BINARY")
)
T = TypeVar("T")


def is_link(found: os.stat_result) -> bool:
    """Whether an entry (as `lstat` gives it) stands for another place: a symbolic link, on Windows also a junction."""
    return stat.S_ISLNK(found.st_mode) or bool(getattr(found, "st_reparse_tag", 0) & _NAME_SURROGATE)


def is_plain(found: os.stat_result) -> bool:
    """Whether an entry is a file with content: no link, folder, pipe, socket or device."""
    return stat.S_ISREG(found.st_mode) and not is_link(found)


def is_folder(found: os.stat_result) -> bool:
    """Whether an entry is a folder and no link to one."""
    return stat.S_ISDIR(found.st_mode) and not is_link(found)


def kind_of(found: os.stat_result) -> str:
    """An entry in words: `a link`, `a pipe`."""
    if is_link(found):
        return "a link"
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFREG: "a file",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(found.st_mode), "a device")


def make_and_look(folder: Path) -> os.stat_result:
    """`lstat` of a folder that is made first if nothing is there."""
    try:
        return os.lstat(folder)
    except FileNotFoundError:
        with suppress(FileExistsError):
            os.mkdir(folder)
        return os.lstat(folder)


def open_plain(file: Path, flags: int) -> int:
    """A descriptor of a plain file, opened without following a link at its end and without waiting for anybody.

    A new file gets the permissions that the person's umask leaves. Raises OSError; for what is no plain file, EINVAL.
    """
    handle = os.open(file, flags | _GUARD, 0o666)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise OSError(22, "it is not a plain file", str(file))


def give_usual_mode(handle: int) -> None:
    """Give an open file the permissions that any new file of this process has: libraries that write aside (safetensors 0.8) leave
    it to its owner alone, and a group that shares a workspace could then not read what was trained. Windows has none."""
    if not on_windows:
        usual = 0o666 & ~_umask()
        if stat.S_IMODE(os.fstat(handle).st_mode) != usual:
            with suppress(PermissionError):  # somebody else's file stays as they made it
                os.fchmod(handle, usual)


def _umask() -> int:
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as told:
            return next(int(line.split()[1], 8) for line in told if line.startswith("Umask:"))
    except (OSError, StopIteration, ValueError):  # other systems tell it only when it is set
        umask = os.umask(0o077)
        os.umask(umask)
        return umask


def replace(source: Path, target: Path) -> None:
    """Rename `source`, in place of a file `target` that may be there. Links are renamed and replaced as such."""
    _patiently(lambda: os.replace(source, target))


def delete(entry: Path) -> None:
    """Delete a file, or a link and not what it points to."""
    attributes = getattr(os.lstat(entry), "st_file_attributes", 0)
    # On Windows a link to a folder is taken away as a folder is; a real one that is not empty stays.
    _patiently(lambda: os.rmdir(entry) if attributes & _DIRECTORY_ATTRIBUTE else os.unlink(entry))


def delete_folder(folder: Path) -> None:
    """Delete a folder with all that is in it. Links in it are taken away, not followed; a link itself is refused."""
    _patiently(lambda: shutil.rmtree(folder))


def _patiently(act: Callable[[], T]) -> T:
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return act()
        except PermissionError:
            if not on_windows or time.monotonic() > until:
                raise
        time.sleep(0.02)
