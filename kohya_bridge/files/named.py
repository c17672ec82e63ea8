"""Files that a person named, and single files of folders that are trusted as they are. Standard library only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from .tree import RECORD_BYTES, Tree


def open_named(file: Path) -> BinaryIO:
    """A plain file that a person named, or that a tree has proven to be one: links are theirs and are followed."""
    end = Path(os.path.realpath(file))
    return Tree(end.parent).open(end)


def read_named(file: Path, *, most: int = RECORD_BYTES) -> bytes:
    """The content, of at most `most` bytes, of a plain file that a person named."""
    end = Path(os.path.realpath(file))
    return Tree(end.parent).read_bytes(end, most=most)


def write_atomically(file: Path, data: str | bytes) -> Path:
    """Replace `file` by `data`, in a folder that is trusted as it is; below a received one, `Tree.write` does that."""
    return Tree(file.parent).write(file, data)
