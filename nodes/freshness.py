"""Telling ComfyUI's cache whether a folder is still as this node left it.

A fingerprint is asked for before anything runs, so a node that changes a folder would seem changed by its own work. Here
the folder's stamp after the work is remembered: as long as it stands, the fingerprint stays the same.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def folder_stamp(folder: Path) -> str:
    """A digest of the names, sizes and times of all files below `folder`; empty when it is not there."""
    digest = hashlib.sha256()
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if not name.startswith("."):
                stat = os.lstat(os.path.join(parent, name))
                digest.update(
                    f"{parent}/{name} {stat.st_size} {stat.st_mtime_ns}\n".encode("utf-8", "replace")
                )
    return digest.hexdigest() if folder.is_dir() else ""


class LeftAs:
    """Stamps of folders as a node left them, and how often somebody else changed each since."""

    def __init__(self) -> None:
        self._left: dict[Path, str] = {}
        self._changes: dict[Path, int] = {}

    def note(self, folder: Path) -> None:
        """The node has done its work on this folder."""
        self._left[folder] = folder_stamp(folder)

    def fingerprint(self, folder: Path) -> int:
        """The same number until somebody else changes the folder."""
        stamp = folder_stamp(folder)
        if self._left.setdefault(folder, stamp) != stamp:
            self._left[folder] = stamp
            self._changes[folder] = self._changes.get(folder, 0) + 1
        return self._changes.get(folder, 0)


exported = LeftAs()
"""How Caption Export left each dataset. Dataset Lint notes its repairs here too: mending must not make it export again."""
