"""Files of a run take their place whole, leavings are put in order, and what a person keeps beside them stays."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat

import pytest

from kohya_bridge.engines.best import leave_best, tell_best
from kohya_bridge.engines.reporter import Reporter
from kohya_bridge.files import Tree
from kohya_bridge.run_folder import RunFolder
from kohya_bridge.state_folders import states_of
from tests.doubles.quick_trainer import lora_bytes


@pytest.fixture
def report(tmp_path):
    made = Reporter(tmp_path, keep_states=1)
    made.started(engine="native", total=9)
    return made


def save(report, step: int, *, value: float = 0.0, final: bool = False):
    written = report.files.make("checkpoints") / ".writing.safetensors"
    written.write_bytes(lora_bytes(step, value))
    return report.checkpoint(written, step, name="alice", final=final)


def keep_state(report, step: int):
    with report.state_folder(step) as folder:
        (folder / "state.json").write_text(json.dumps({"step": step}))
    report.state(step)


def again(report) -> Reporter:
    """The next attempt, after a kill."""
    report.log.close()
    made = Reporter(report.run_dir, keep_states=1)
    made.started(engine="native", total=9, resumed_from=4)
    return made


def test_copies_that_a_person_made_of_states_and_checkpoints_stay(report):
    keep_state(report, 2)
    states = report.run_dir / "states"
    shutil.copytree(states / "step00000002", states / "step00000002-keep")
    first = save(report, 2)
    for name in ("alice-step00000002-keep.safetensors", "mine-step00000002-00000000.safetensors"):
        shutil.copy(first, first.with_name(name))
    keep_state(report, 4)
    save(report, 2, value=1.0)
    again(report)
    assert sorted(each.name for each in states.iterdir()) == ["step00000002-keep", "step00000004"]
    assert {"alice-step00000002-keep.safetensors", "mine-step00000002-00000000.safetensors"} <= {
        each.name for each in first.parent.iterdir()
    }


def test_a_copy_under_another_steps_name_is_no_state_and_stays(report):
    """Not one that is counted, resumed from, told of or deleted; nor is a folder of a person's own that is called so."""
    keep_state(report, 2)
    states = report.run_dir / "states"
    for name in ("step00000003", "step00000009", "step0000004\u0665"):
        shutil.copytree(states / "step00000002", states / name)
    (states / "step00000001").mkdir()
    (states / "step00000001" / "notes.txt").write_text("mine")
    keep_state(report, 4)
    assert RunFolder(report.run_dir).latest_state() == (4, states / "step00000004")
    next_one = again(report)
    keep_state(next_one, 6)
    assert [row["dir"] for row in next_one.told().states] == ["states/step00000006"]
    assert sorted(each.name for each in states.iterdir()) == [
        "step00000001", "step00000003", "step00000006", "step00000009", "step0000004\u0665",
    ]  # fmt: skip
    assert RunFolder(report.run_dir).latest_state()[0] == 6


@pytest.mark.parametrize(
    "name",
    (".partial-mine", ".writing-notes.txt", ".partial-step00000002-mine", ".writing", "partial-step00000002"),
)
@pytest.mark.parametrize("folder", ("checkpoints", "states"))
def test_only_names_that_a_trainer_gives_are_taken_for_its_leavings(report, folder, name):
    report.files.make(f"{folder}/{name}")
    for ours in (
        ".partial-step00000002",
        ".partial-removed-step00000002",
        ".partial-4242.safetensors",
        ".writing.safetensors.part",
    ):
        report.files.write(f"{folder}/{ours}", "half")
    again(report)
    assert [each.name for each in report.files.entries(folder)] == [name]


def test_a_checkpoint_whose_event_is_missing_is_told_by_the_next_attempt(report):
    data = lora_bytes(4, 0.0)
    digest = hashlib.sha256(data).hexdigest()
    file = report.files.make("checkpoints") / f"alice-step00000004-{digest[:8]}.safetensors"
    file.write_bytes(data)
    torn = file.with_name("alice-step00000005-00000000.safetensors")
    torn.write_bytes(data[:40])
    state = again(report).told()
    assert [(row["step"], row["sha256"], row["final"]) for row in state.checkpoints] == [(4, digest, False)]
    assert torn.exists(), "what is not as we left it is not ours to judge"


def test_a_file_of_a_step_that_was_made_again_goes_whoever_was_killed_before_deleting_it(report):
    old = save(report, 4)
    kept = old.read_bytes()
    new = save(report, 4, value=1.0)
    old.write_bytes(kept)
    again(report)
    assert [each.name for each in new.parent.iterdir()] == [new.name]


def test_a_state_whose_event_is_missing_is_told_and_the_older_one_goes(report):
    keep_state(report, 2)
    with report.state_folder(4) as folder:
        (folder / "state.json").write_text('{"step": 4}')
    state = again(report).told()
    assert [row["dir"] for row in state.states] == ["states/step00000004"]
    assert RunFolder(report.run_dir).latest_state()[0] == 4
    assert len(list((report.run_dir / "states").iterdir())) == 1


def test_a_state_that_can_not_be_filled_leaves_nothing_behind(report):
    with pytest.raises(OSError), report.state_folder(4) as folder:
        (folder / "half").write_text("half")
        raise OSError(28, "No space left on device")
    assert not list((report.run_dir / "states").iterdir())


def test_a_state_that_is_made_again_is_never_half_there_under_its_name(report, monkeypatch):
    """The old one is moved aside whole before the new one takes its place."""
    keep_state(report, 4)
    seen = []
    monkeypatch.setattr(Tree, "clear", lambda self, folder: seen.append(states_of(report.files)))
    with report.state_folder(4) as folder:
        (folder / "state.json").write_text('{"step": 4, "again": 1}')
    assert all((each / "state.json").is_file() for states in seen for each in states)


def test_best_is_chosen_anew_by_every_attempt_and_its_files_follow(report):
    first = save(report, 2)
    leave_best(report.run_dir, tell_best(report.run_dir, report.told(), report.log.write))
    second = save(report, 4)
    choice = tell_best(report.run_dir, report.told(), report.log.write)
    assert choice is not None and choice.file.endswith(second.name)
    leave_best(report.run_dir, choice)
    link = report.run_dir / "best.safetensors"
    assert link.samefile(second) and not link.samefile(first)
    before = (report.run_dir / "best.json").stat().st_mtime_ns
    leave_best(report.run_dir, choice)
    assert (report.run_dir / "best.json").stat().st_mtime_ns == before
    link.unlink()
    leave_best(report.run_dir, choice)
    assert link.samefile(second)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077], ids=oct)
def test_what_a_library_wrote_for_its_owner_alone_is_kept_as_the_umask_says(report, umask):
    """safetensors 0.8 writes a file aside with mode 600, and sd-scripts saves with it."""
    before = os.umask(umask)
    try:
        written = report.files.make("checkpoints") / ".writing.safetensors"
        written.write_bytes(lora_bytes(3, 0.0))
        written.chmod(0o600)
        kept = [report.checkpoint(written, 3, name="alice")]
        with report.state_folder(3) as folder:
            (folder / "model.safetensors").write_bytes(b"x")
            (folder / "model.safetensors").chmod(0o600)
        kept.append(report.run_dir / "states" / "step00000003" / "model.safetensors")
    finally:
        os.umask(before)
    assert [stat.S_IMODE(each.stat().st_mode) for each in kept] == [0o666 & ~umask] * 2
