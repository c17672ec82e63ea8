"""Fixtures: the good dataset, a copy of it to spoil, and a small tokenizer."""

import shutil

import pytest

from kohya_bridge.datasets.dataset_metadata import write_metadata
from kohya_bridge.workspace import Workspace
from tests.known_pictures import known_pictures  # noqa: F401  a fixture

from .lint_world import COUNT, GOOD, MOODS, PLACES, varied_picture, write_rows


@pytest.fixture(scope="session")
def good_set(tmp_path_factory):
    dir = tmp_path_factory.mktemp("lint") / "char_x"
    (dir / "images").mkdir(parents=True)
    for number in range(1, COUNT + 1):
        varied_picture(number).save(dir / "images" / f"{number:04d}.png", compress_level=1)
    write_rows(dir, [{"file_name": f"{n:04d}.png", "prompt": f"char_x, {MOODS[n % 5]}, {PLACES[n - 1]}"} for n in range(1, COUNT + 1)])  # fmt: skip
    write_metadata(dir / "metadata.yaml", GOOD)
    return dir


@pytest.fixture
def dataset_dir(good_set, tmp_path):
    return shutil.copytree(good_set, tmp_path / "char_x")


@pytest.fixture
def workspace(tmp_path):
    return Workspace.at(tmp_path / "workspace")


@pytest.fixture
def source(tmp_path):
    """An empty folder to import from."""
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def tokenizer_dir(tmp_path_factory):
    """A CLIP vocabulary with few merges: `cat`, `long` and `hair` are one token, other letters one each."""
    folder = tmp_path_factory.mktemp("tokenizer")
    merges = [
        "c a",
        "ca t</w>",
        "l o",
        "n g</w>",
        "lo ng</w>",
        "h a",
        "i r</w>",
        "ha ir</w>",
        "c h",
        "a r</w>",
        "ch ar</w>",
    ]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    return folder
