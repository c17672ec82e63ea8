"""A journal of repairs is obeyed where this machine wrote it, shown where it did not, and reaches no other place than repairs do."""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some

from kohya_bridge import machine_key
from kohya_bridge.dataset import read_dataset
from kohya_bridge.errors import BridgeError, Conflict, NotFound, Refused
from kohya_bridge.lint.repair import repair_dataset, undo_repairs
from kohya_bridge.lint.repair_journal import JOURNAL_NAME, names_a_place, read_journals

from .lint_world import BAD
from .test_repair import tree

pytestmark = pytest.mark.usefixtures("known_pictures")

ESCAPES = (
    "../../custom_nodes/zz.py", "/etc/passwd", "images/../../x", "..", "originals/1/repairs.json", "images\\..\\x",
    "C:/x.png", "images//a.png", "./metadata.yaml", "images/sub/a.png", "images/a.py", "dataset.lock.json", ".git/hooks/x~",
    "images/a.png\0", "",
)  # fmt: skip


@pytest.fixture
def world(tmp_path, dataset_dir):
    """A dataset in a folder where nothing else may change, and a way to plant a journal in it."""
    (tmp_path / "elsewhere").mkdir(exist_ok=True)
    (tmp_path / "elsewhere" / "precious.txt").write_text("precious")
    return dataset_dir


def plant(dataset_dir: Path, journal: dict, *, stamp: str = "20990101-000000-01", **kept: str) -> str:
    aside = dataset_dir / "originals" / stamp
    for name, content in kept.items():
        (aside / name).parent.mkdir(parents=True, exist_ok=True)
        (aside / name).write_text(content)
    aside.mkdir(parents=True, exist_ok=True)
    (aside / JOURNAL_NAME).write_text(json.dumps(journal))
    return stamp


def around(dataset_dir: Path) -> dict[str, bytes]:
    """Everything beside the dataset."""
    return {
        str(file): file.read_bytes()
        for file in dataset_dir.parent.rglob("*")
        if file.is_file() and not file.is_relative_to(dataset_dir) and not file.name.endswith(".lock")
    }


@pytest.mark.parametrize("name", ESCAPES)
def test_a_planted_journal_touches_nothing_even_when_a_person_names_it(world, name):
    stamp = plant(world, {"repairs": [], "kept": [name], "written": {name: ""}})
    before, inside = around(world), tree(world)
    for wanted in ("", stamp):
        with pytest.raises(BridgeError):
            undo_repairs(read_dataset(world), stamp=wanted)
    assert around(world) == before and tree(world) == inside


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kept=some.lists(some.one_of(some.text(), some.sampled_from(ESCAPES)), max_size=3),
    written=some.dictionaries(
        some.one_of(some.text(), some.sampled_from(ESCAPES)), some.just(""), max_size=3
    ),
)
@example(kept=["../elsewhere/precious.txt"], written={"../elsewhere/precious.txt": ""})
def test_whatever_names_a_journal_holds_nothing_outside_the_dataset_changes(world, kept, written):
    stamp = plant(world, {"kept": kept, "written": written})
    before = around(world)
    try:
        undo_repairs(read_dataset(world), stamp=stamp)
    except BridgeError:
        pass
    assert around(world) == before


@given(some.text())
@example("images/a.png")
@example("images/..png")
def test_a_place_of_repairs_is_always_below_the_dataset_and_spelled_one_way(name):
    if names_a_place(name):
        path = PurePosixPath(name)
        assert not path.is_absolute() and ".." not in path.parts and path.as_posix() == name
        assert os.path.normpath(name) == name and path.parts[0] != "originals"


def test_a_journal_with_a_future_stamp_does_not_go_before_ours(world):
    before = tree(world)
    BAD["W404"][0](world)
    bad = tree(world)
    ours = repair_dataset(read_dataset(world)).dataset
    plant(world, {"kept": ["metadata.yaml"], "written": {}}, **{"metadata.yaml": "slug: taken\n"})
    undo_repairs(ours)
    assert {name: digest for name, digest in tree(world).items() if "originals" not in name} == bad != before


def received(dataset_dir: Path, monkeypatch, tmp_path) -> tuple[str, dict[str, str]]:
    """A dataset with a repair of another machine: its stamp, and what the dataset was before."""
    BAD["W404"][0](dataset_dir)
    before = tree(dataset_dir)
    monkeypatch.setenv(machine_key.FOLDER_VARIABLE, str(tmp_path / "their key"))
    stamp = repair_dataset(read_dataset(dataset_dir)).stamp
    monkeypatch.setenv(machine_key.FOLDER_VARIABLE, str(tmp_path / "our key"))
    return stamp, before


def test_a_repair_of_another_machine_is_shown_and_undone_only_when_a_person_names_it(
    dataset_dir, monkeypatch, tmp_path
):
    stamp, before = received(dataset_dir, monkeypatch, tmp_path)
    after = tree(dataset_dir)
    with pytest.raises(Refused, match=f"{stamp} .1 change. was done on another machine") as told:
        undo_repairs(read_dataset(dataset_dir))
    assert f"--undo {stamp}" in told.value.fix and tree(dataset_dir) == after
    undo_repairs(read_dataset(dataset_dir), stamp=stamp)
    assert tree(dataset_dir) == before


def test_a_journal_of_an_earlier_version_is_still_undone_to_the_byte_by_its_name(dataset_dir):
    """Earlier versions kept a list of names and signed nothing."""
    BAD["W205"][0](dataset_dir)
    before = tree(dataset_dir)
    stamp = repair_dataset(read_dataset(dataset_dir)).stamp
    file = dataset_dir / "originals" / stamp / JOURNAL_NAME
    told = json.loads(file.read_text())
    file.write_text(
        json.dumps({"repairs": told["repairs"], "kept": list(told["kept"]), "written": told["written"]})
    )
    with pytest.raises(Refused):
        undo_repairs(read_dataset(dataset_dir))
    undo_repairs(read_dataset(dataset_dir), stamp=stamp)
    assert tree(dataset_dir) == before


def test_a_journal_of_ours_that_was_altered_or_given_another_stamp_is_no_longer_ours(dataset_dir):
    BAD["W404"][0](dataset_dir)
    stamp = repair_dataset(read_dataset(dataset_dir)).stamp
    aside = dataset_dir / "originals" / stamp
    told = json.loads((aside / JOURNAL_NAME).read_text())
    aside.rename(aside.with_name("20990101-000000-01"))
    assert not read_journals(dataset_dir)[0].is_ours
    aside.with_name("20990101-000000-01").rename(aside)
    assert read_journals(dataset_dir)[0].is_ours
    (aside / JOURNAL_NAME).write_text(json.dumps({**told, "written": {"images/0002.png": ""}}))
    assert not read_journals(dataset_dir)[0].is_ours


def test_originals_that_were_changed_or_replaced_by_a_link_are_not_put_back(dataset_dir, tmp_path):
    BAD["W205"][0](dataset_dir)
    dataset = repair_dataset(read_dataset(dataset_dir))
    kept = next((dataset_dir / "originals" / dataset.stamp / "images").iterdir())
    (tmp_path / "secret").write_bytes(kept.read_bytes())
    kept.unlink()
    kept.symlink_to(tmp_path / "secret")
    after = tree(dataset_dir)
    with pytest.raises(BridgeError):
        undo_repairs(dataset.dataset)
    kept.unlink()
    kept.write_bytes(b"another picture")
    with pytest.raises(Conflict, match="is not what the repair kept"):
        undo_repairs(dataset.dataset)
    assert {name: digest for name, digest in tree(dataset_dir).items() if "originals" not in name} == {
        name: digest for name, digest in after.items() if "originals" not in name
    }


def test_an_undo_that_was_cut_short_is_finished_by_the_next_one(dataset_dir):
    BAD["W205"][0](dataset_dir)
    before = tree(dataset_dir)
    dataset = repair_dataset(read_dataset(dataset_dir))
    aside = dataset_dir / "originals" / dataset.stamp
    first = next(each for each in sorted(aside.rglob("*")) if each.is_file() and each.name != JOURNAL_NAME)
    os.replace(first, dataset_dir / first.relative_to(aside))
    undo_repairs(dataset.dataset)
    assert tree(dataset_dir) == before


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"kept": 3}', '{"kept": [], "foreign": 1}', "[" * 100_000]
)
def test_a_damaged_journal_hides_no_other(dataset_dir, content):
    BAD["W404"][0](dataset_dir)
    dataset = repair_dataset(read_dataset(dataset_dir)).dataset
    aside = dataset_dir / "originals" / "20990101-000000-01"
    aside.mkdir()
    (aside / JOURNAL_NAME).write_text(content)
    assert [each.is_ours for each in read_journals(dataset_dir)] == [True]
    undo_repairs(dataset)


def test_originals_that_are_a_link_to_another_folder_are_neither_filled_nor_read(dataset_dir, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (dataset_dir / "originals").symlink_to(tmp_path / "elsewhere")
    BAD["W404"][0](dataset_dir)
    with pytest.raises(BridgeError):
        repair_dataset(read_dataset(dataset_dir))
    assert not list((tmp_path / "elsewhere").iterdir())
    with pytest.raises(NotFound):
        undo_repairs(read_dataset(dataset_dir))
