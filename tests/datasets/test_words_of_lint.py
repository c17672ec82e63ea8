"""What lint says reads as a person would write it: numbers that fit their nouns, no lines of anybody's source, and a way out at hand."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image, ImageDraw

from kohya_bridge.dataset import read_dataset
from kohya_bridge.datasets.picture_statistics import fingerprint
from kohya_bridge.lint.catalogue import RULES
from kohya_bridge.lint.finding import LintSettings
from kohya_bridge.lint.inspection import inspect_dataset
from tests.wording import oddities

from .lint_world import BAD, linted, rows_of, varied_picture, write_rows

pytestmark = pytest.mark.usefixtures("known_pictures")


@pytest.fixture(scope="module")
def pictures(good_set, tmp_path_factory):
    """Data sets of 0, 1, 2 and 3 pictures."""
    made = {}
    for count in range(4):
        made[count] = tmp_path_factory.mktemp(f"of{count}") / "char_x"
        shutil.copytree(good_set, made[count])
        write_rows(made[count], rows_of(made[count])[:count])
        for file in sorted((made[count] / "images").iterdir())[count:]:
            file.unlink()
    return made


@pytest.mark.parametrize("count", range(4))
def test_every_finding_of_every_rule_reads_well_whatever_the_number_of_pictures(pictures, tmp_path, count, tokenizer_dir):  # fmt: skip
    told = []
    for id, (spoil, _) in BAD.items():
        dir = tmp_path / id / "char_x"
        shutil.copytree(pictures[count], dir)
        try:
            spoil(dir)
        except (IndexError, FileNotFoundError):  # what it would spoil is not in so small a set
            continue
        report = linted(dir, tokenizer_dir, bucket_no_upscale=id != "W242")
        told += [(id, odd) for odd in oddities(report.text())]
        told += [(id, each.problem) for each in report.findings if "\n" in each.problem or not each.fix]
    assert told == []


def test_no_rule_shows_lines_of_source_and_each_repair_is_named_for_canvas_and_shell():
    for rule in RULES:
        shown = f"{rule.title} {rule.trainer} {rule.fix}"
        assert not re.search(r"\bl\.\d|exit code|\bstem\b", shown), shown
        assert ("lint --fix" in shown) == ("`repair: mend` on Dataset Lint" in shown), shown


def test_one_repair_is_one_repair(pictures, tmp_path):
    dir = tmp_path / "char_x"
    shutil.copytree(pictures[2], dir)
    rows = rows_of(dir)
    rows[0]["prompt"] = "smiling, char_x"
    write_rows(dir, rows)
    seen = inspect_dataset(read_dataset(dir), repairing="list")
    assert "1 repair is possible" in seen.text() and not oddities(seen.text())


def flat_art(seed, grid):
    """Plain rectangles whose edges lie on a grid, as pixel art and vector drawings have them."""
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", (768, 768), tuple(rng.integers(0, 255, 3).tolist()))
    draw = ImageDraw.Draw(picture)
    for _ in range(40):
        x, y = (rng.integers(0, 700 // grid, 2) * grid).tolist()
        wide, high = (rng.integers(1, 24, 2) * grid).tolist()
        draw.rectangle((x, y, x + wide - 1, y + high - 1), tuple(rng.integers(0, 255, 3).tolist()))
    return picture


@pytest.mark.parametrize("grid", (8, 16, 32))
@pytest.mark.parametrize("seed", range(4))
def test_flat_art_has_no_blocks_of_compression_and_a_strong_jpeg_has(tmp_path, seed, grid):
    most = LintSettings().max_blocks
    assert fingerprint(flat_art(seed, grid))[1].blocks <= most
    noise = np.random.default_rng(seed).normal(0, 4, (768, 768, 3))
    soft = np.asarray(varied_picture(seed, (96, 96)).resize((768, 768), Image.Resampling.BICUBIC), float)
    Image.fromarray((soft + noise).clip(0, 255).astype(np.uint8)).save(tmp_path / "x.jpg", quality=6)
    with Image.open(tmp_path / "x.jpg") as compressed:
        assert fingerprint(compressed.convert("RGB"))[1].blocks > most
