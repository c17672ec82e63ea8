"""What the rules claim of sd-scripts' loader, asked of that loader itself."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from kohya_bridge.dataset import read_dataset
from kohya_bridge.datasets.pictures import EXIF_ORIENTATION
from kohya_bridge.engines.kohya.checkout import find_checkout, find_interpreter
from kohya_bridge.errors import Unavailable
from kohya_bridge.lint import lint_dataset

pytestmark = pytest.mark.sdscripts


@pytest.fixture(scope="module")
def loader():
    """`folder -> what sd-scripts makes of it`."""
    try:
        checkout, python = find_checkout(), find_interpreter()
    except Unavailable as error:
        pytest.skip(f"sd-scripts is not set up here (make kohya): {error.problem}")

    def run(folder):
        command = [
            str(python),
            str(Path(__file__).with_name("real_loader.py")),
            str(checkout.dir),
            str(folder),
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
        lines = [line for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
        assert lines, done.stderr[-2000:]
        return json.loads(lines[0].removeprefix("ANSWER "))

    return run


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "set" / "images"
    folder.mkdir(parents=True)
    return folder


def add(images, name, caption=None, *, size=(256, 256), **save):
    picture = Image.new("RGB", size, (200, 40, 40))
    picture.save(images / name, **save)
    if caption is not None:
        (images / name).with_suffix(".txt").write_bytes(
            caption if isinstance(caption, bytes) else caption.encode()
        )


def rules(images):
    return {finding.rule for finding in lint_dataset(read_dataset(images.parent)).findings}


def test_the_traps_of_the_loader_are_as_the_rules_say(loader, images):
    add(images, "lines.png", "first line\nsecond line")
    add(images, "mark.png", b"\xef\xbb\xbfchar_x, smile")
    add(images, "mixed.Jpg", "never seen", format="JPEG")
    (images / "below").mkdir()
    add(images / "below", "deep.png", "never seen")
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    add(images, "turned.png", "char_x", size=(300, 200), exif=exif)
    add(images, "twin.png", "shared words")
    add(images, "twin.jpg", None)
    add(images, "a_b_c_d_e.png", None)
    (images / "a.txt").write_text("borrowed words", encoding="utf-8")
    see_through = Image.new("RGBA", (256, 256), (0, 0, 255, 0))
    see_through.save(images / "clear.png")
    (images / "clear.txt").write_text("char_x", encoding="utf-8")
    pictures = loader(images)["pictures"]
    assert pictures["lines.png"]["caption"] == "first line"  # E105
    assert pictures["mark.png"]["caption"] == "\ufeffchar_x, smile"  # W104
    assert "mixed.Jpg" not in pictures and "deep.png" not in pictures  # E307
    assert pictures["turned.png"]["shape"] == [200, 300]  # W204: lying as stored
    assert pictures["twin.png"]["caption"] == pictures["twin.jpg"]["caption"] == "shared words"  # W308
    assert pictures["a_b_c_d_e.png"]["caption"] == "borrowed words"  # W309
    assert pictures["clear.png"]["corner"] == [0, 0, 255]  # W205: the colour behind the transparency
    assert rules(images) >= {"E105", "W104", "E307", "W204", "W308", "W309", "W205"}


@pytest.mark.parametrize(
    ("caption", "error", "rule"),
    [(b"", "AssertionError", "E101"), (b"caf\xe9", "UnicodeDecodeError", "E103")],
)
def test_the_loader_stops_where_the_rules_say_that_it_stops(loader, images, caption, error, rule):
    add(images, "a.png", caption)
    assert loader(images) == {"error": error}
    assert rule in rules(images)


def test_a_picture_without_a_caption_is_trained_with_an_empty_one(loader, images):
    add(images, "a.png", None)
    assert loader(images)["pictures"]["a.png"]["caption"] == ""
    assert "E102" in rules(images)
