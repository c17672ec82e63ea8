"""What was found out about a dataset's pictures, remembered between runs as long as the files stay as they are.

In: a dataset, a cache folder, JSON values by picture. Out: one JSON file for each dataset folder and kind of fact. A picture
counts as unchanged by its size, time of change and inode.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ..dataset import Dataset
from ..files import Tree, read_sealed, write_sealed


class KeptFacts:
    """Values by picture. Without a cache folder nothing is remembered."""

    def __init__(self, dataset: Dataset, cache_dir: Path | None, *, kind: str, version: int):
        key = hashlib.sha256(str(dataset.dir).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        self.file = cache_dir / kind / f"{dataset.slug[:64]}-{key}.json" if cache_dir else None
        self.version = version
        self._old: dict[str, Any] = {}
        self._new: dict[str, Any] = {}
        if self.file:
            self._old = read_sealed(Tree(self.file.parents[1]), self.file, version=version) or {}

    def get(self, picture: Path) -> Any | None:
        """The value of an unchanged picture, or None."""
        known = self._old.get(picture.name)
        if not self.file or not known or known["stamp"] != _stamp(picture):
            return None
        self._new[picture.name] = known
        return known["facts"]

    def put(self, picture: Path, value: Any) -> None:
        if self.file:
            self._new[picture.name] = {"stamp": _stamp(picture), "facts": value}

    def save(self) -> None:
        """Keep what was asked for or put since; pictures that are gone are forgotten."""
        if self.file and self._new != self._old:
            write_sealed(Tree(self.file.parents[1]), self.file, self._new, version=self.version)


def _stamp(picture: Path) -> list[int]:
    try:
        stat = picture.stat()
    except OSError:
        return []
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino]
