"""Caches that are believed without another look: JSON with a digest of itself.

In: plain values, and a number for the form that they have. Out: the same values, or nothing: where the file is missing, of another
form, or changed by anything but its writer, such as a bit that flipped on the disk. A digest is no signature; what has to be
told from what somebody else wrote is signed (`machine_key.py`). Standard library only.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from .. import json_text
from .tree import Tree

CACHE_BYTES = 1 << 30


def write_sealed(tree: Tree, file: Path | str, value: Any, *, version: int) -> None:
    """Raises UnusableFile."""
    tree.write(file, _sealed(json_text.write(value), version))


def read_sealed(tree: Tree, file: Path | str, *, version: int) -> Any | None:
    """What `write_sealed` wrote; None for anything else."""
    try:
        text = tree.read_text(file, most=CACHE_BYTES)
        told = text[len(_sealed("", version)) - 1 : -1]
        return json_text.read(told) if text == _sealed(told, version) else None
    except (OSError, ValueError):
        return None


def _sealed(told: str, version: int) -> str:
    digest = hashlib.sha256(f"{version} {told}".encode()).hexdigest()
    return f'{{"digest":"{digest}","content":{told}}}'
