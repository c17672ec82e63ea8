"""However a trainer ends, the run ends once, with a sentence that says why and what to do."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from kohya_bridge import supervisor
from kohya_bridge.keeper import Keeper
from kohya_bridge.stop_ladder import Rung
from tests.desk.conftest import request
from tests.doubles.quick_engine import QuickEngine
from tests.waiting import wait_until

QUICK_LADDER = (Rung("ask", 0.3), Rung("interrupt", 0.3), Rung("terminate", 0.3), Rung("kill", 5))


def finish(desk, **changes):
    run = desk.submit(request(**changes))
    return run, desk.wait(run.run_id, poll_s=0.05)


def endings(run) -> list[str]:
    return [event["outcome"] for event in run.events() if event["kind"] == "run_finished"]


def wait_for_step(run, step: int) -> None:
    wait_until(lambda: run.state().step >= step, run.log_tail)


def test_one_that_ignores_every_request_is_killed_and_each_rung_is_told(desk_with):
    desk = desk_with(QuickEngine(mode="ignore_signals", seconds_per_step=0.05))
    run = desk.submit(request(settings={"max_train_steps": 2000}))
    wait_for_step(run, 5)
    desk.stop(run.run_id, rungs=QUICK_LADDER)
    state = desk.wait(run.run_id, poll_s=0.05)
    assert state.status == "stopped"
    assert "killed by SIGKILL" in state.problem
    assert "Resume continues from step" in state.fix
    told = [row["problem"] for row in state.notices if row["code"] == "stop_ladder"]
    assert told == ["Stop: ask.", "Stop: interrupt.", "Stop: terminate.", "Stop: kill."]
    log = run.log_file.read_text()
    for words in ("Asked the trainer to stop", "Interrupting", "Terminating", "Killing"):
        assert words in log
    assert endings(run) == ["stopped"]


def test_one_that_dies_by_itself_while_it_is_asked_to_stop_has_failed(desk_with):
    desk = desk_with(QuickEngine(mode="ignore_signals", seconds_per_step=0.05))
    run = desk.submit(request(settings={"max_train_steps": 2000}))
    wait_for_step(run, 5)
    desk.stop(run.run_id)
    wait_until(run.stopping_file.exists)
    os.kill(run.identity().pid, signal.SIGKILL)
    state = desk.wait(run.run_id, poll_s=0.05)
    assert state.status == "failed"
    assert "killed from outside" in state.problem


def test_one_that_dies_in_the_middle_of_a_line_leaves_a_readable_story(desk_with):
    run, state = finish(desk_with(QuickEngine(mode="die_mid_line", at=6)))
    assert state.status == "failed"
    assert "died at step 6 of 12 (killed by SIGKILL)" in state.problem
    assert "Resume continues from step 4." in state.fix
    assert [event["seq"] for event in run.events()] == list(range(1, state.last_seq + 1))
    assert endings(run) == ["failed"]


def test_one_that_leaves_without_a_word_is_told_with_exit_code_and_last_lines(desk_with):
    run, state = finish(desk_with(QuickEngine(mode="exit", at=2)))
    assert "died at step 2 of 12 (exit code 7)" in state.problem
    assert "No state was saved yet" in state.fix
    last = [event for event in run.events() if event["kind"] == "run_finished"][-1]
    assert "the trainer gives up" in last["evidence"]


def test_one_that_raises_tells_of_it_itself_and_keeps_the_traceback_in_the_log(desk_with):
    run, state = finish(desk_with(QuickEngine(mode="crash", at=2)))
    assert state.status == "failed"
    assert "the trainer broke on purpose" in state.problem
    assert "Traceback" not in state.problem + state.fix
    assert "Traceback" in run.log_file.read_text()
    assert endings(run) == ["failed"]


def test_one_that_dies_before_it_began_is_explained_by_its_log(desk_with):
    _, state = finish(desk_with(QuickEngine(mode="no_package")))
    assert "before it began training (exit code 1)" in state.problem
    assert "The package a_package_that_nobody_has is missing." in state.problem
    assert "doctor" in state.fix


def test_a_missing_interpreter_is_an_outcome_and_the_next_run_gets_its_turn(desk_with):
    broken = desk_with(QuickEngine(interpreter="/nowhere/python"))
    _, state = finish(broken)
    assert state.status == "failed"
    assert "could not be started" in state.problem
    assert "/nowhere/python" in state.problem
    _, state = finish(desk_with(), settings={"seed": 1})
    assert state.status == "completed"


def test_one_that_writes_a_lot_is_not_held_up(desk_with):
    run, state = finish(desk_with(QuickEngine(mode="chatter")))
    assert state.status == "completed"
    assert run.log_file.stat().st_size > 20 << 20
    assert len(run.log_tail(40)) < 64_000


def test_what_a_trainer_leaves_running_is_ended_with_it(desk_with):
    run, state = finish(desk_with(QuickEngine(mode="grandchild")))
    assert state.status == "completed"
    pid = int((run.dir / "grandchild.pid").read_text())
    with suppress(psutil.NoSuchProcess):  # whoever takes in orphans may not have collected it yet
        assert psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(("mode", "words"), [("lie", "No final LoRA was saved"), ("nan", "not finite")])
def test_a_run_without_a_usable_lora_has_not_completed(desk_with, mode, words):
    run, state = finish(desk_with(QuickEngine(mode=mode)))
    assert state.status == "failed"
    assert words in state.problem
    assert endings(run) == ["failed"]


def test_a_full_disk_fails_the_run_with_its_name_and_leaves_no_half_file(desk_with):
    run, state = finish(desk_with(QuickEngine(mode="disk_full")))
    assert state.problem == "The disk is full."
    assert not list(run.checkpoints_dir.glob("*.safetensors"))


def test_a_result_that_was_damaged_later_is_noticed_and_trained_again(desk_with):
    desk = desk_with()
    run, state = finish(desk)
    final = run.dir / max(state.checkpoints, key=lambda row: row["step"])["file"]
    good = final.read_bytes()
    final.write_bytes(good[:-9])
    desk.submit(request())
    again = desk.wait(run.run_id, poll_s=0.05)
    assert again.status == "completed"
    assert final.read_bytes() == good
    assert endings(run) == ["completed", "failed", "completed"]


def test_a_trainer_whose_keeper_was_killed_is_adopted_and_completes(desk_with):
    desk = desk_with(QuickEngine(seconds_per_step=0.1))
    run = desk.submit(request(settings={"max_train_steps": 30}))
    wait_for_step(run, 3)
    os.kill(run.identity().keeper["pid"], signal.SIGKILL)
    state = desk.wait(run.run_id, poll_s=0.05)
    assert (state.status, state.attempt) == ("completed", 1)
    assert "A new keeper watches over the trainer" in run.log_file.read_text()


def test_a_run_killed_three_times_ends_with_the_bytes_of_an_uninterrupted_one(desk_with):
    steps = {
        "max_train_steps": 100
    }  # the last kill has to come before the end also where this process has to wait
    straight, _ = finish(desk_with(), settings=steps, character="straight")
    desk = desk_with(QuickEngine(seconds_per_step=0.02))
    run = desk.submit(request(settings=steps, character="interrupted"))
    for step in (7, 18, 29):
        wait_for_step(run, step)
        os.kill(run.identity().pid, signal.SIGKILL)
        state = desk.wait(run.run_id, poll_s=0.02)
        assert state.status == "failed"
        assert "killed by SIGKILL" in state.problem
        desk.resume(run.run_id)
    assert desk.wait(run.run_id, poll_s=0.05).status == "completed"
    assert final_bytes(run) == final_bytes(straight)
    assert endings(run) == ["failed", "failed", "failed", "completed"]


def final_bytes(run) -> bytes:
    return Path(run.dir / run.checkpoint("latest")["file"]).read_bytes()


def test_one_that_has_told_its_end_and_does_not_leave_is_ended(desk, tmp_path):
    run, _ = finish(desk)
    story = tmp_path / "hanging"
    story.mkdir()
    (story / "events.jsonl").write_bytes(run.events_file.read_bytes())
    hanging = [
        "sleep",
        "600",
    ]  # it is there at once: an interpreter that still starts answers an interrupt otherwise
    keeper = Keeper(story, linger_s=0.5)
    assert keeper.start({"argv": hanging, "cwd": str(tmp_path), "environment": {}, "attempt": 1}) == ""
    assert keeper.wait() == -signal.SIGINT
    assert "The trainer has reported its end, but its process goes on." in (story / "train.log").read_text()


@pytest.mark.started_for_real
def test_no_zombies_are_left_behind(desk_with):
    """Beside those that other tests of this process have left."""
    before = zombies()
    desk = desk_with()
    for seed in range(3):
        finish(desk, settings={"seed": seed})
    wait_until(lambda: supervisor.reap() or zombies() <= before)


def zombies() -> set[int]:
    """The processes below this one that have ended and that nobody has collected."""
    found = set()
    for each in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if each.status() == psutil.STATUS_ZOMBIE:
                found.add(each.pid)
    return found
