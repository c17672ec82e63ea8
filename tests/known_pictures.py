"""What a picture file says of itself, kept for as long as this process tests: the desk's and lint's tests ask it of the same few files in
every test, and each answer is a full decode. Tests about decoding, and about what lint keeps itself, go without."""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path

import pytest

from kohya_bridge.datasets.pictures import PictureFacts, inspect_picture

_known: dict[str, PictureFacts] = {}


@pytest.fixture
def known_pictures(monkeypatch):
    """Lint decodes a file only where none with the same bytes was decoded before."""
    examine = importlib.import_module("kohya_bridge.lint.examine")  # the package has a function of that name
    monkeypatch.setattr(examine, "inspect_picture", _facts)


def _facts(file: Path) -> PictureFacts:
    if file.is_symlink() or not file.is_file():
        return inspect_picture(file)
    try:
        key = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return inspect_picture(file)
    if key not in _known:
        _known[key] = inspect_picture(file)
    return _known[key]
