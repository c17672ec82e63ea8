"""A run folder that somebody passed on may hold links, pipes and devices in place of files. It is one folder, and stays one."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import pytest

from kohya_bridge.workspace import Workspace
from tests.planting import (
    PLANTS,
    Tried,
    desk_at,
    fingerprint,
    link_to_a_folder,
    make_finished,
    make_outside,
    others_are_well,
    pipe,
    put,
    the_two_runs,
    try_verb,
    verbs,
)

NOT_YET_THERE = (
    "control/stop", "control/lend", "control/pause", "stopping.json", "lending.json", "unattended.json", "held_prompts",
    "held_prompts/0123456789abcdef.json", "samples", "samples/step00000004-0.png", "staging", "staging/train",
    "queued.json", "launch.json", ".plan.yaml.tmp", "losses.json.tmp", "best.safetensors", "checkpoints/.writing.safetensors",
    "checkpoints/.writing.safetensors.part", "states/.partial-step00000004", "states/step00000099", "package/x/package.json",
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    return make_finished(tmp_path_factory.mktemp("finished"))


def names_in(place: Path) -> list[str]:
    """Every file and folder name that a finished run and its validations hold, and those that others hold."""
    run, _ = the_two_runs(place)
    there = [each.relative_to(run.dir).as_posix() for each in sorted(run.dir.rglob("*"))]
    rendered = Workspace.at(place / "training").validation_dir(run.slug, run.run_id)
    aside = [os.path.relpath(each, run.dir) for each in (rendered, *sorted(rendered.rglob("*")))]
    aside += [
        os.path.relpath(rendered / name, run.dir)
        for name in ("validation_manifest.json", "overview.png", "cells")
    ]
    return [*dict.fromkeys([*there, *NOT_YET_THERE, *aside])]


def attempt(finished: Path, tmp_path: Path, name: str, plant) -> list[str]:
    """Plant one thing in a copy of everything, try every verb, and say what went wrong."""
    place = tmp_path / f"{plant.__name__}-{name.replace('/', '~')}"[:100]
    shutil.copytree(finished, place / "all", symlinks=True)
    outside = make_outside(place / "outside")
    before = fingerprint(outside)
    run, other = the_two_runs(place / "all")
    put(plant, run.dir / name, outside)
    desk = desk_at(place / "all")
    tried = [
        try_verb(verb, act)
        for verb, act in verbs(desk, run, other, place / "all" / "models" / "loras").items()
    ]
    tried.append(Tried("others", others_are_well(desk, other)))
    tried.append(try_verb("delete the packages", lambda: run.files.clear("package")))
    tried.append(try_verb("delete", lambda: desk.delete(run.run_id)))
    tried.append(Tried("others after delete", others_are_well(desk, other)))
    if fingerprint(outside) != before:
        tried.append(Tried("outside", "something outside changed"))
    shutil.rmtree(place)
    return [f"{name} as {plant.__name__}: {each.verb}: {each.wrong}" for each in tried if each.wrong]


def cases(finished: Path) -> list[tuple[str, object]]:
    return [(name, plant) for name in names_in(finished) for plant in PLANTS]


def test_whatever_stands_in_a_run_folder_nothing_else_changes_hangs_or_breaks(finished, tmp_path):
    """Each name once, and what is planted there drawn anew for every name; the whole table is below."""
    rng = random.Random(1)
    names = names_in(finished)
    drawn = [(name, rng.choice(PLANTS)) for name in names if rng.random() < 0.25]
    wrong = [line for name, plant in drawn for line in attempt(finished, tmp_path, name, plant)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.full
def test_the_whole_table_of_planted_things(finished, tmp_path):
    wrong = [line for name, plant in cases(finished) for line in attempt(finished, tmp_path, name, plant)]
    print(f"{len(cases(finished))} planted, {len(wrong)} wrong")
    assert not wrong, "\n".join(wrong)


WRITTEN_BY_THE_CHILD = (
    "events.jsonl", "losses.json", "losses.json.tmp", "train.log", "run.json", "child.json", "checkpoints", "states",
    "control", "tensorboard", "best.safetensors", "best.json", "environment.json", "states/step00000008",
    "states/.partial-step00000012",
)  # fmt: skip


def resumed(finished: Path, tmp_path: Path, name: str, plant) -> list[str]:
    """Plant one thing in a run that was stopped, resume it, and say what went wrong."""
    place = tmp_path / f"{plant.__name__}-{name.replace('/', '~')}"
    shutil.copytree(finished, place / "all", symlinks=True)
    outside = make_outside(place / "outside")
    before = fingerprint(outside)
    run, other = the_two_runs(place / "all")
    final = run.checkpoint("latest")
    (run.dir / final["file"]).unlink()  # so that the run counts as failed and its last part is trained again
    put(plant, run.dir / name, outside)
    desk = desk_at(place / "all")
    tried = [try_verb("resume", lambda: desk.resume(run.run_id))]
    tried.append(try_verb("wait", lambda: desk.wait(run.run_id, poll_s=0.02), patience_s=30))
    tried.append(Tried("others", others_are_well(desk, other)))
    if fingerprint(outside) != before:
        tried.append(Tried("outside", "something outside changed"))
    return [f"{name} as {plant.__name__}: {each.verb}: {each.wrong}" for each in tried if each.wrong]


@pytest.mark.parametrize(
    "name, plant",
    [
        ("checkpoints", link_to_a_folder),
        ("train.log", pipe),
    ],
)
def test_a_trainer_that_finds_such_a_folder_writes_nothing_outside(finished, tmp_path, name, plant):
    assert not resumed(finished, tmp_path, name, plant)


@pytest.mark.full
def test_a_trainer_in_the_whole_table_writes_nothing_outside(finished, tmp_path):
    wrong = [
        line
        for name in WRITTEN_BY_THE_CHILD
        for plant in PLANTS
        for line in resumed(finished, tmp_path, name, plant)
    ]
    assert not wrong, "\n".join(wrong)


def test_a_copied_state_that_a_person_named_otherwise_is_never_cleared(finished, tmp_path):
    place = tmp_path / "all"
    shutil.copytree(finished, place, symlinks=True)
    run, _ = the_two_runs(place)
    states = [each for each in run.files.entries("states") if each.name.startswith("step")]
    kept = run.dir / "states" / f"{states[0].name}-keep"
    shutil.copytree(states[0], kept)
    (run.dir / run.checkpoint("latest")["file"]).unlink()
    desk = desk_at(place)
    desk.resume(run.run_id)
    assert desk.wait(run.run_id, poll_s=0.02).status == "completed"
    assert json.dumps(sorted(each.name for each in kept.iterdir()))
