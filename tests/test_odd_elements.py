"""Readers of lists take each element by itself: a spoilt one hides no other, and what is wrong with it is said."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as some

from kohya_bridge.datasets.dataset_lock import readable_lock
from kohya_bridge.engines.kohya.ledger import read_ledger
from kohya_bridge.files import Tree, read_sealed, write_sealed
from kohya_bridge.runs.damage import damages_of
from kohya_bridge.runs.run_table import experiment_table
from kohya_bridge.runs.thinning import thin
from kohya_bridge.stop_ladder import AT_ONCE, SOFT, Rung, read_climbed, requested_rungs
from kohya_bridge.validation.manifest import MANIFEST_NAME, readable_manifest, update_manifest
from kohya_bridge.workspace import Workspace
from tests.rehearsed_runs import rehearse

ODD = [None, 7, "x", [], {}, {"how": 7}, float("nan"), {"versions": []}, [[]]]
SHA = "a" * 64
CELL = {
    "key": "0" * 16, "prompt": "a", "seed": 1, "strength": 1.0,
    "sampling": {"sampler": "euler", "scheduler": "normal", "steps": 1, "cfg": 7.0, "width": 8, "height": 8},
}  # fmt: skip
VERSION = {"digest": SHA, "reason": "trained", "name": "x", "time": 1.0, "items": {}}
RUN_ID = "0123456789ab"


def manifest_of(cells) -> str:
    return json.dumps(
        {"version": 1, "slug": "alice", "run_id": RUN_ID, "cells": cells, "grids": [], "notes": "mine"}
    )


@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize("at", (0, 1, 2))
def test_a_damaged_cell_hides_no_other_and_is_named(tmp_path, odd, at):
    file = tmp_path / MANIFEST_NAME
    cells = [CELL, {**CELL, "key": "1" * 16}]
    cells.insert(at, odd)
    file.write_text(manifest_of(cells))
    manifest, problems = readable_manifest(file)
    assert [each.key for each in manifest.cells] == ["0" * 16, "1" * 16] and manifest.notes == "mine"
    assert len(problems) == 1 and f"cells, number {at + 1}" in problems[0]


def test_the_next_grid_keeps_a_damaged_manifest_beside_the_new_one(tmp_path):
    file = tmp_path / MANIFEST_NAME
    file.write_text(manifest_of([CELL, {**CELL, "seed": "x"}]))
    before = file.read_bytes()
    new = update_manifest(file, slug="alice", run_id=RUN_ID, cells=[], grids=[])
    assert len(new.cells) == 1 and readable_manifest(file)[1] == ()
    (kept,) = tmp_path.glob("*.damaged-*.json")
    assert kept.read_bytes() == before


def test_a_damaged_cell_and_a_damaged_package_are_said_at_their_run(tmp_path):
    run = rehearse(Workspace.at(tmp_path / "training")).start().train(1, 3).finish("stopped").run
    assert damages_of(run) == []
    folder = tmp_path / "training" / "validations" / run.slug / run.run_id
    folder.mkdir(parents=True)
    (folder / MANIFEST_NAME).write_text(manifest_of([CELL, 7]))
    run.files.write("package/x/package.json", "[]")
    told = {each.file: each for each in damages_of(run)}
    assert set(told) == {MANIFEST_NAME, "package/x/package.json"} and all(
        each.is_a_part for each in told.values()
    )
    assert "cells, number 2" in told[MANIFEST_NAME].problem


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_a_damaged_version_hides_no_other_and_is_named(tmp_path, odd):
    told = {"version": 1, "versions": [VERSION, odd, {**VERSION, "name": "y"}]}
    (tmp_path / "dataset.lock.json").write_text(json.dumps(told))
    lock, problem = readable_lock(tmp_path)
    assert [each.name for each in lock.versions] == ["x", "y"] and "version 2" in problem


@given(
    some.lists(
        some.sampled_from(
            [
                *ODD,
                {"how": "kill", "seconds": 1},
                {"how": "ask", "seconds": -1},
                {"how": "kill", "seconds": 1e999},
            ]
        )
    )
)
def test_whoever_is_asked_to_stop_stops_whatever_the_request_holds(tmp_path_factory, rows):
    place = tmp_path_factory.mktemp("run")
    (place / "control").mkdir()
    for told in (rows, {"rungs": rows}, {"rungs": {"a": rows}}):
        (place / "control" / "stop").write_text(json.dumps(told))
        rungs = requested_rungs(place / "control" / "stop")
        sound = told == {"rungs": rows} and rows.count({"how": "kill", "seconds": 1})
        assert rungs == ((Rung("kill", 1.0),) * sound if sound else SOFT)
    (place / "stopping.json").write_text(json.dumps(rows))
    assert read_climbed(place / "stopping.json") == [
        each for each in rows if each == {"how": "kill", "seconds": 1}
    ]
    assert AT_ONCE != SOFT


@given(some.dictionaries(some.sampled_from(["time", "settings", "base_model", "steps", "duration_s", "loss_ema", "character"]),
                         some.sampled_from([*ODD, 10**400, -1, 1e300, [None], "2001-99-99"])))  # fmt: skip
def test_an_odd_line_of_the_experiments_has_its_row(tmp_path_factory, odd):
    workspace = Workspace.at(tmp_path_factory.mktemp("training"))
    sound = {"run_id": RUN_ID, "time": 1.0, "steps": [0, 4], "settings": {"network_dim": 4}, "loss_ema": 0.5}
    lines = [json.dumps(each) for each in (sound, {**sound, **odd}, sound)]
    workspace.experiments_file.write_text("\n".join([*lines, "{", "[]"]) + "\n")
    table = experiment_table(workspace)
    assert len(table.rows) == 3 and table.unreadable == 2 and table.rows[0] == table.rows[2]
    assert all(isinstance(cell, str) and len(cell) <= 300 for row in table.rows for cell in row)


@given(some.lists(some.integers(0, 10**9) | some.integers(0, 50), max_size=80))
def test_a_series_whose_steps_were_spoilt_is_thinned_as_well(steps):
    rows = [[step, 0.1, 0.1, None] for step in steps]
    thinned = thin(rows, most=20)
    assert len(thinned) <= 20 and all(row in rows for row in thinned)


@given(some.integers(0), some.integers(0, 255))
def test_a_cache_of_which_a_byte_changed_is_none(tmp_path_factory, at, byte):
    tree = Tree(tmp_path_factory.mktemp("cache"))
    value = {"a": [1, "b"], "c": None}
    write_sealed(tree, "x.json", value, version=3)
    whole = tree.read_bytes("x.json")
    assert read_sealed(tree, "x.json", version=3) == value == json.loads(whole)["content"]
    assert read_sealed(tree, "x.json", version=4) is None
    at %= len(whole)
    tree.write("x.json", whole[:at] + bytes([byte]) + whole[at + 1 :])
    assert (read_sealed(tree, "x.json", version=3) is None) == (whole[at] != byte)


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_a_ledger_that_is_none_is_refused_in_the_ways_that_are_told(tmp_path, odd):
    (tmp_path / "ledger.json").write_text(json.dumps(odd))
    with pytest.raises((KeyError, TypeError, ValueError)):
        read_ledger(tmp_path)
