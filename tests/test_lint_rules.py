"""Every rule stays silent on a good dataset and speaks on a bad one that differs in just that."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from kohya_bridge.dataset import read_dataset
from kohya_bridge.dataset_metadata import DatasetMetadata, write_metadata
from kohya_bridge.lint import lint_dataset
from kohya_bridge.lint.catalogue import RULES

COUNT = 15
PLACES = ["harbour", "meadow", "attic", "market", "cliff", "cafe", "forest", "desert", "river", "stage", "roof", "alley",
          "garden", "library", "bridge"]  # fmt: skip
MOODS = ["smiling", "frowning", "laughing", "thoughtful", "surprised"]
GOOD = DatasetMetadata(
    lora_tag="char_x", licence="CC0-1.0", source="made by this test", release_approved=True
)


def varied_picture(seed, size=(768, 768)):
    """Soft random blobs: sharp enough, colourful, and unlike any other seed."""
    grid = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8)
    return Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC)


def write_rows(dir, rows):
    (dir / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def rows_of(dir):
    return [json.loads(line) for line in (dir / "captions.jsonl").read_text("utf-8").splitlines()]


def recaption(dir, caption, name="0001.png"):
    rows = rows_of(dir)
    for row in rows:
        if row["file_name"] == name:
            row["prompt"] = caption
    write_rows(dir, rows)


def uncaption(dir, name="0001.png"):
    write_rows(dir, [row for row in rows_of(dir) if row["file_name"] != name])


def remeta(dir, **changes):
    write_metadata(dir / "metadata.yaml", GOOD.model_copy(update=changes))


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


def sidecar(dir, raw, name="0001"):
    uncaption(dir, f"{name}.png")
    (dir / "images" / f"{name}.txt").write_bytes(raw)


def cut(file, share=0.6):
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])


# Rule id -> (what makes the good set bad, the subject that must be named). A rule without an entry fails a test.
BAD = {
    "E101": (lambda d: recaption(d, "  "), "0001.png"),
    "E102": (uncaption, "0001.png"),
    "E103": (lambda d: sidecar(d, b"char_x, caf\xe9"), "images/0001.txt"),
    "W104": (lambda d: sidecar(d, b"\xef\xbb\xbfchar_x, a"), "images/0001.txt"),
    "E105": (lambda d: recaption(d, "char_x, a\nsecond"), "0001.png"),
    "E106": (lambda d: (d / "captions.jsonl").open("a").write("{oops\n"), f"captions.jsonl:{COUNT + 1}"),
    "W107": (lambda d: write_rows(d, [*rows_of(d), {"file_name": "0001.png", "prompt": "char_x"}]), "0001.png"),
    "E108": (lambda d: recaption(d, "char_x, " + "long " * 4000), "0001.png"),
    "W109": (lambda d: recaption(d, "char_x, (red hat:1.3)"), "0001.png"),
    "E201": (lambda d: cut(d / "images/0001.png"), "0001.png"),
    "E202": (lambda d: varied_picture(1, (767, 900)).save(d / "images/0001.png"), "0001.png"),
    "W203": (lambda d: varied_picture(1, (768, 2000)).save(d / "images/0001.png"), "0001.png"),
    "W204": (lambda d: varied_picture(1).save(d / "images/0002.png"), "0002.png"),
    "W205": (lambda d: varied_picture(1).resize((900, 900)).save(d / "images/0002.png"), "0002.png"),
    "E301": (lambda d: [file.unlink() for file in (d / "images").iterdir()], ""),
    "W302": (lambda d: (d / "images/0001.png").unlink(), ""),
    "W303": (lambda d: (d / "images/0001.png").unlink(), "0001.png"),
    "W304": (lambda d: (d / "images/0099.txt").write_text("char_x"), "images/0099.txt"),
    "E305": (lambda d: write_rows(d, [*rows_of(d), {"file_name": "../a.png", "prompt": "char_x"}]), "../a.png"),
    "E306": (lambda d: os.mkfifo(d / "images/0099.png"), "images/0099.png"),
    "E307": (lambda d: varied_picture(99).save(d / "images/0099.Jpg", format="JPEG"), "images/0099.Jpg"),
    "W401": (lambda d: remeta(d, lora_tag=""), "metadata.yaml"),
    "E402": (lambda d: remeta(d, lora_tag="<char_x>"), "metadata.yaml"),
    "E403": (lambda d: recaption(d, "smiling, char_xy"), "0001.png"),
    "W404": (lambda d: recaption(d, "smiling, char_x"), "0001.png"),
    "W405": (lambda d: recaption(d, "char_x, smiling, char_x"), "0001.png"),
    "W501": (lambda d: (d / "metadata.yaml").unlink(), "metadata.yaml"),
    "E502": (lambda d: (d / "metadata.yaml").write_text("licens: x"), "metadata.yaml"),
    "E503": (lambda d: recaption(d, "char_x, completely_nude"), "0001.png"),
    "W504": (lambda d: remeta(d, licence=""), "metadata.yaml"),
    "I505": (lambda d: remeta(d, source=""), "metadata.yaml"),
    "I506": (lambda d: remeta(d, release_approved=False), "metadata.yaml"),
}  # fmt: skip


def test_a_good_dataset_gives_no_finding_at_all(good_set):
    assert lint_dataset(read_dataset(good_set)).text() == "char_x: 15 pictures, no findings. Ready to train."


def test_every_rule_has_a_bad_dataset_here():
    assert set(BAD) == {rule.id for rule in RULES}


@pytest.mark.parametrize("id", list(BAD))
def test_a_bad_dataset_makes_its_rule_speak_of_the_right_subject(id, dataset_dir):
    spoil, subject = BAD[id]
    spoil(dataset_dir)
    report = lint_dataset(read_dataset(dataset_dir))
    found = [each for each in report.findings if each.rule == id]
    assert subject in [each.subject for each in found], report.text()
    assert all(each.problem.endswith((".", ")")) or each.problem for each in found) and all(
        each.fix for each in found
    )
    if id[0] == "E":
        assert report.blocks


def test_rule_ids_and_texts_are_complete_and_unique():
    assert len({rule.id[1:] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule.trainer.endswith(".") and rule.fix.endswith(".") and rule.title and rule.check.__doc__
