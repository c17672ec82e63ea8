"""Versions: what was trained or published can be told from what is there now."""

import os

import pytest
from PIL import Image

from kohya_bridge.captions import CaptionRow, parse_captions, write_captions
from kohya_bridge.dataset import dataset_digest, export_pictures, find_dataset, read_dataset
from kohya_bridge.datasets.dataset_lock import (
    KEPT_VERSIONS,
    difference,
    note_training,
    read_lock,
    snapshot,
    take_version,
)
from kohya_bridge.errors import InvalidInput
from kohya_bridge.lint import lint_dataset
from kohya_bridge.workspace import Workspace


@pytest.fixture
def workspace(tmp_path):
    return Workspace.at(tmp_path)


@pytest.fixture
def dataset(workspace):
    pictures = [Image.new("RGB", (20, 20), (shade, 0, 0)) for shade in (10, 20, 30)]
    return export_pictures(workspace, "alice", pictures, ["a", "b", "c"])


def test_a_snapshot_has_the_digest_that_plans_name(dataset):
    assert snapshot(dataset).digest == dataset_digest(dataset)


def test_a_difference_names_what_came_went_changed_and_was_renamed(workspace, dataset):
    before = snapshot(dataset)
    first, second, third = [item.file for item in dataset.items]
    os.rename(first, first.with_name("9000.png"))
    Image.new("RGB", (20, 20), (99, 0, 0)).save(second)
    rows, _ = parse_captions((dataset.dir / "captions.jsonl").read_bytes())
    write_captions(dataset.dir / "captions.jsonl", [rows[1], CaptionRow(third.name, "other words")])
    export_pictures(workspace, "alice", [Image.new("RGB", (20, 20), (0, 9, 0))], ["new"])
    what = difference(before, snapshot(find_dataset(workspace, "alice")))
    assert what.renamed == ((first.name, "9000.png"),)
    assert what.changed == (second.name,) and what.recaptioned == (third.name,)
    assert len(what.added) == 1 and what.removed == ()
    assert "renamed" in what.text() and what


def test_no_difference_is_false_and_says_so(dataset):
    what = difference(snapshot(dataset), snapshot(dataset))
    assert not what and what.text() == "no difference"


def test_taking_the_same_version_twice_adds_one_and_published_ones_are_never_dropped(dataset):
    published = snapshot(dataset, reason="published", name="lora-1", clock=lambda: 1.0)
    take_version(dataset, published)
    take_version(dataset, published)
    for number in range(KEPT_VERSIONS + 5):
        take_version(dataset, snapshot(dataset, reason="trained", name=f"run{number}", clock=lambda: 2.0))
    lock = read_lock(dataset.dir)
    assert lock.published() == published
    assert [each.name for each in lock.versions if each.reason == "trained"][-1] == f"run{KEPT_VERSIONS + 4}"
    assert len(lock.versions) == KEPT_VERSIONS + 1


DAMAGED = ["{", '{"version": 1, "versions": [{}]}', "[" * 100_000, "[]", '{"version": 2}', ""]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_lock_hinders_no_training_stays_as_it_is_and_lint_tells(dataset, content, caplog):
    file = dataset.dir / "dataset.lock.json"
    file.write_text(content, encoding="utf-8")
    note_training(dataset.dir, run_id="0123456789ab")
    assert file.read_text("utf-8") == content
    (told,) = (each.getMessage() for each in caplog.records)
    assert told.startswith("What run 0123456789ab is trained on is not taken down: ") and file.name in told
    assert "E601" in {finding.rule for finding in lint_dataset(dataset).findings}


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_lock_is_refused_and_not_overwritten(dataset, content):
    file = dataset.dir / "dataset.lock.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidInput):
        take_version(dataset, snapshot(dataset))
    assert file.read_text("utf-8") == content


def test_a_training_is_noted_once_and_lint_tells_what_has_changed_since(dataset):
    for _ in range(2):
        note_training(dataset.dir, run_id="0123456789ab")
    assert [(each.reason, each.name) for each in read_lock(dataset.dir).versions] == [
        ("trained", "0123456789ab")
    ]
    assert "I603" not in {finding.rule for finding in lint_dataset(dataset).findings}
    dataset.items[0].file.unlink()
    report = lint_dataset(read_dataset(dataset.dir))
    (found,) = [each for each in report.findings if each.rule == "I603"]
    name = dataset.items[0].name
    assert found.problem == f"Since 0123456789ab was trained: 1 picture removed ({name})."


def test_a_release_freezes_the_set_and_lint_names_what_was_added_changed_and_captioned_anew(dataset):
    take_version(dataset, snapshot(dataset, reason="published", name="alice-v1"))
    assert "E602" not in {finding.rule for finding in lint_dataset(read_dataset(dataset.dir)).findings}
    first, second = dataset.items[0], dataset.items[1]
    Image.new("RGB", (9, 9), "blue").save(first.file)
    Image.new("RGB", (9, 9), "green").save(dataset.dir / "images" / "new.png")
    rows = [
        CaptionRow(item.name, item.caption + (", a hat" if item is second else "")) for item in dataset.items
    ]
    write_captions(dataset.dir / "captions.jsonl", rows)
    report = lint_dataset(read_dataset(dataset.dir))
    (found,) = [each for each in report.findings if each.rule == "E602"]
    assert found.problem == (
        f"Since alice-v1 was published: 1 picture added (new.png), 1 changed ({first.name}), "
        f"1 with another caption ({second.name})."
    )
    assert report.blocks
    take_version(read_dataset(dataset.dir), snapshot(read_dataset(dataset.dir), reason="marked", name="v2"))
    assert "E602" not in {finding.rule for finding in lint_dataset(read_dataset(dataset.dir)).findings}
