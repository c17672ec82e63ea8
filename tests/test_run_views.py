"""Runs as a list, and one run as the panel shows it: read once, then read on."""

import json
import os
import time

import pytest
from PIL import Image

from kohya_bridge.errors import InvalidInput, NotFound, StorageError
from kohya_bridge.run_state import fold
from kohya_bridge.runs import mending, run_list
from kohya_bridge.runs.run_list import RunList
from kohya_bridge.runs.run_log import copy_log
from kohya_bridge.runs.run_pictures import find_picture, list_pictures, thumbnail
from kohya_bridge.runs.run_view import RunViews
from kohya_bridge.workspace import Workspace
from tests.rehearsed_runs import rehearse, rehearsed_plan


@pytest.fixture
def workspace(tmp_path):
    return Workspace.at(tmp_path / "training")


def test_a_list_that_grew_with_its_run_equals_one_read_afresh(workspace):
    story = rehearse(workspace, rehearsed_plan(max_train_steps=60), every=20)
    listed = RunList(workspace)
    assert listed.lines()[0].state.status == "queued"
    story.start().train(1, 33)
    assert listed.lines()[0].state.step == 33
    story.train(34, 60).finish("completed")
    grown, afresh = listed.lines()[0], RunList(workspace).lines()[0]
    assert grown == afresh
    assert (
        grown.state.status == "completed" and len(grown.state.checkpoints) == 3 and grown.state.losses == ()
    )


def test_a_line_torn_by_a_kill_is_not_read_before_it_is_mended(workspace):
    story = rehearse(workspace, rehearsed_plan(max_train_steps=60), every=20).start().train(1, 5).close()
    with open(story.run.events_file, "ab") as file:
        file.write(b'{"v":1,"seq":99,"kind":"prog')
    listed = RunList(workspace)
    assert listed.lines()[0].state.step == 5
    story.start(resumed_from=0).train(1, 2)
    assert listed.lines()[0].state.step == 2 and listed.lines()[0].state.attempt == 2


def test_what_was_read_is_kept_and_a_damaged_cache_is_only_slower(workspace):
    for seed in range(21):
        rehearse(workspace, rehearsed_plan(seed=seed, max_train_steps=60)).start().close()
    first = RunList(workspace)
    lines = first.lines()
    kept = json.loads(first.cache_file.read_text("utf-8"))
    assert len(kept["content"]) == 21
    assert RunList(workspace).lines() == lines
    whole = first.cache_file.read_bytes()
    for at in range(0, len(whole), len(whole) // 40):
        first.cache_file.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        assert RunList(workspace).lines() == lines
    first.cache_file.write_text("{")
    assert RunList(workspace).lines() == lines


def test_a_run_with_a_broken_plan_is_listed_with_its_problem(workspace):
    story = rehearse(workspace, rehearsed_plan())
    story.run.plan_file.write_text("steps: many\n")
    (line,) = json.loads(RunList(workspace).encoded())
    assert line["run_id"] == story.run.run_id and line["problem"]


def test_what_was_wrong_is_forgotten_when_it_is_mended_without_a_new_event(workspace):
    story = rehearse(workspace).start().train(1, 3).close()
    whole = story.run.plan_file.read_text()
    runs, views = RunList(workspace), RunViews(workspace, RunList(workspace))
    told = story.run.events_file.read_bytes()
    for spoil, mend in (
        (lambda: story.run.plan_file.write_text("{"), lambda: story.run.plan_file.write_text(whole)),
        (
            lambda: (story.run.events_file.unlink(), os.mkfifo(story.run.events_file)),
            lambda: (story.run.events_file.unlink(), story.run.events_file.write_bytes(told)),
        ),
    ):
        spoil()
        (line,) = RunList(workspace).lines()
        assert line.plan["problem"]
        runs = RunList(workspace)
        assert json.loads(runs.encoded())[0]["problem"]
        assert views.snapshot(story.run)["run_id"] == story.run.run_id
        mend()
        (line,) = json.loads(runs.encoded())
        assert "problem" not in line and line["state"]["step"] == 3 and line["base_model"]


def test_a_run_that_stays_unreadable_is_not_read_at_each_look(workspace, monkeypatch):
    story = rehearse(workspace, rehearsed_plan())
    whole = story.run.plan_file.read_text()
    story.run.plan_file.write_text("steps: many\n")
    runs, reads = RunList(workspace), []
    read = run_list._read
    monkeypatch.setattr(run_list, "_read", lambda *given: (reads.append(1), read(*given))[1])
    for _ in range(20):
        assert runs.lines()[0].plan["problem"]
    assert len(reads) <= 2
    story.run.plan_file.write_text(whole)
    assert "problem" not in runs.lines()[0].plan


@pytest.mark.parametrize(
    "change",
    [
        lambda run: run.plan_file.write_text("steps: few\n"),
        lambda run: run.plan_file.chmod(0o600),
        lambda run: run.plan_file.unlink(),
        lambda run: (run.plan_file.unlink(), run.plan_file.symlink_to("elsewhere")),
        lambda run: run.events_file.unlink(),
        lambda run: (run.dir.rename(run.dir.with_name("away")), run.dir.mkdir()),
    ],
    ids=["content", "rights", "gone", "a link", "events gone", "another folder"],
)
def test_whatever_may_have_mended_a_run_is_seen(workspace, change):
    run, looks = rehearse(workspace).start().close().run, mending.LastLooks()
    assert looks.may_be_mended(str(run.dir)) and not looks.may_be_mended(str(run.dir))
    change(run)
    assert looks.may_be_mended(str(run.dir)) and not looks.may_be_mended(str(run.dir))


def test_what_left_no_trace_in_the_folder_is_seen_a_little_later(workspace, monkeypatch):
    run, looks = rehearse(workspace).start().close().run, mending.LastLooks()
    assert looks.may_be_mended(str(run.dir)) and not looks.may_be_mended(str(run.dir))
    later = time.monotonic() + mending.LOOK_AGAIN_S + 1
    monkeypatch.setattr(mending.time, "monotonic", lambda: later)
    assert looks.may_be_mended(str(run.dir))


def test_a_folder_of_logs_that_takes_none_costs_a_run_nothing(workspace, caplog):
    story = rehearse(workspace).start().train(1, 3).finish("stopped")
    workspace.logs_dir.symlink_to("nowhere")
    copy_log(workspace, story.run)
    assert "has no second name" in caplog.text


def test_a_deleted_run_leaves_the_list(workspace):
    story = rehearse(workspace, rehearsed_plan()).start().close()
    listed = RunList(workspace)
    assert len(listed.lines()) == 1
    story.run.plan_file.unlink()
    assert listed.lines() == []


def test_a_view_reads_on_from_where_it_was(workspace):
    story = rehearse(workspace, rehearsed_plan(max_train_steps=60), every=20).start().train(1, 30)
    views = RunViews(workspace, RunList(workspace))
    assert views.state(story.run).step == 30
    story.train(31, 60).finish("completed")
    assert views.state(story.run) == fold(story.run.events())


def test_a_long_run_comes_thinned_and_a_range_of_it_in_full(workspace):
    story = rehearse(workspace, rehearsed_plan(max_train_steps=20_000), every=20_001).start()
    with open(story.run.events_file, "a", encoding="utf-8") as file:
        for step in range(1, 20_001):
            event = {"v": 1, "seq": 100 + step, "time": 1.0, "kind": "progress", "step": step, "loss": 0.1}
            file.write(json.dumps(event) + "\n")
    views = RunViews(workspace, RunList(workspace))
    snapshot = views.snapshot(story.run)
    assert snapshot["steps_told"] == 20_000 and len(snapshot["state"]["losses"]) <= 4000
    steps = [row[0] for row in views.losses(story.run, first=777, last=1776, most=4000)]
    assert steps == list(range(777, 1777))


def test_a_view_says_what_changed_against_the_run_before(workspace):
    before = rehearse(workspace, rehearsed_plan(seed=1))
    os.utime(before.run.plan_file, (1, 1))
    after = rehearse(workspace, rehearsed_plan(seed=2, unet_lr=3e-4))
    views = RunViews(workspace, RunList(workspace))
    changes = views.snapshot(after.run)["changes"]
    assert changes["against"] == before.run.run_id
    assert {row["field"]: (row["old"], row["new"]) for row in changes["fields"]} == {
        "settings.unet_lr": (1e-4, 3e-4),
        "settings.seed": (1, 2),
    }
    assert views.snapshot(before.run)["changes"] is None


def test_comparing_wants_two_to_six_different_runs(workspace):
    runs = [rehearse(workspace, rehearsed_plan(seed=seed)).run for seed in range(7)]
    views = RunViews(workspace, RunList(workspace))
    assert len(views.compare(runs[:6])["runs"]) == 6
    for wrong in ([], runs[:1], runs, [runs[0], runs[0]]):
        with pytest.raises(InvalidInput):
            views.compare(wrong)


def test_pictures_are_found_by_name_and_made_small_once(workspace):
    story = rehearse(workspace, rehearsed_plan(max_train_steps=60), every=20).start().train(1, 40)
    pictures = list_pictures(workspace, story.run, fold(story.run.events()).samples)
    assert [picture.step for picture in pictures] == [20, 40]
    picture = find_picture(pictures, pictures[0].name)
    small = thumbnail(workspace, picture.file, size=96)
    assert thumbnail(workspace, picture.file, size=96) == small
    assert len(list((workspace.cache_dir / "thumbnails").iterdir())) == 1
    with pytest.raises(NotFound):
        find_picture(pictures, "../plan.yaml")


def test_a_file_that_only_looks_like_a_picture_is_a_plain_failure(workspace, tmp_path):
    broken = tmp_path / "broken.png"
    Image.new("RGB", (64, 64), "red").save(broken)
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(StorageError):
        thumbnail(workspace, broken, size=96)
