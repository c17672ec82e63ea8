"""Second names of files that we made ourselves: `best.safetensors`, and a run's log where people look for logs.

In: a plain file and a name inside a tree. Out: a symbolic link with a relative target, so that the workspace can be moved; a
hard link where the system allows none (Windows asks for a privilege); a copy where it allows neither. Standard library only.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from . import disk
from .files import Tree


def give_second_name(file: Path, name: Path, *, inside: Tree, copy: bool = True) -> bool:
    """Let `name` in the tree `inside` stand for `file`, in place of what had that name. False when only a copy would do and
    `copy` forbids it.

    Raises:
        OSError: the disk is full or read-only, or a folder has that name.
    """
    name = inside.path(name)
    inside.make(name.parent)
    aside = name.with_name(f".{name.name[:100]}.{os.urandom(6).hex()}.tmp")
    for make in (_symbolic, os.link, shutil.copyfile)[: 3 if copy else 2]:
        try:
            make(file, aside)
        except (OSError, ValueError):  # ValueError: no relative way from one drive to another
            inside.remove(aside)
            if make is shutil.copyfile:
                raise
            continue
        try:
            disk.replace(aside, name)
        finally:
            inside.remove(aside)
        return True
    return False


def _symbolic(file: Path, name: Path) -> None:
    here = os.path.realpath(name.parent)
    # Where the folder itself is a link, such as `logs` on another disk, `..` means another folder than it seems.
    there = file if here == str(name.parent) else os.path.realpath(file)
    os.symlink(os.path.relpath(there, here), name)
