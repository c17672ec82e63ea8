"""Stop, pause, go on, save now, delete: what is asked for happens, and nothing is lost by it."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace

import pytest

from kohya_bridge import supervisor
from kohya_bridge.engines.contract import Problem
from kohya_bridge.errors import Conflict, NotFound, Refused
from kohya_bridge.events import EventLog
from kohya_bridge.runs.held_prompt import HeldPrompt
from tests.desk.conftest import make_dataset, request
from tests.doubles.quick_engine import QuickEngine
from tests.waiting import wait_until


@pytest.fixture
def training(desk_with):
    """A desk and a run of 60 steps that is on its way."""
    desk = desk_with(QuickEngine(seconds_per_step=0.02))
    run = desk.submit(request(settings={"max_train_steps": 60, "save_every_n_steps": 20}))
    wait_until(lambda: run.state().step >= 3)
    return desk, run


def test_a_stop_keeps_lora_and_state_and_resume_goes_on_from_there(training):
    desk, run = training
    desk.stop(run.run_id)
    stopped = desk.wait(run.run_id, poll_s=0.05)
    assert stopped.status == "stopped"
    assert run.checkpoint("latest")["step"] == run.latest_state()[0] == stopped.step
    desk.resume(run.run_id)
    state = desk.wait(run.run_id, poll_s=0.05)
    assert (state.status, state.step, state.resumed_from) == ("completed", 60, stopped.step)


def test_a_run_that_is_just_being_closed_can_be_resumed_at_once(training):
    """Between the trainer's last word and the end of its keeper the run counts as neither alive nor over."""
    desk, run = training
    desk.stop(run.run_id)
    wait_until(lambda: run.state().status == "stopped")
    desk.resume(run.run_id)
    state = desk.wait(run.run_id, poll_s=0.05)
    assert (state.status, state.attempt) == ("completed", 2)


def test_submitting_a_stopped_plan_again_resumes_it(training):
    desk, run = training
    desk.stop(run.run_id)
    stopped = desk.wait(run.run_id, poll_s=0.05)
    assert desk.submit(request(settings={"max_train_steps": 60, "save_every_n_steps": 20})) == run
    assert desk.wait(run.run_id, poll_s=0.05).resumed_from == stopped.step


def test_stopping_at_once_does_not_wait_for_patience(desk_with):
    """The step is longer than the keeper's next look: the trainer has not yet seen the request when it is interrupted."""
    desk = desk_with(QuickEngine(seconds_per_step=4))
    run = desk.submit(request())
    wait_until(lambda: run.state().step >= 1)
    desk.stop(run.run_id, at_once=True)
    assert desk.wait(run.run_id, poll_s=0.05).status == "stopped"
    log = run.log_file.read_text()
    assert "Interrupting the trainer" in log and "Asked the trainer to stop" not in log


def test_who_waits_can_ask_for_a_soft_stop(training):
    desk, run = training
    seen = []
    state = desk.wait(run.run_id, on_state=seen.append, should_stop=lambda: len(seen) > 3, poll_s=0.02)
    assert state.status == "stopped"
    assert seen[-1] == state
    assert [each.step for each in seen] == sorted(each.step for each in seen)


def test_a_paused_run_keeps_the_slot_and_goes_on_when_it_may(training):
    desk, run = training
    desk.pause(run.run_id)
    wait_until(lambda: run.state().status == "paused")
    step = run.state().step
    time.sleep(0.2)
    assert run.state().step == step
    assert desk.is_alive(run.run_id)
    desk.unpause(run.run_id)
    assert desk.wait(run.run_id, poll_s=0.05).status == "completed"


def test_a_checkpoint_can_be_had_now(training):
    desk, run = training
    desk.checkpoint_now(run.run_id)
    wait_until(lambda: run.state().checkpoints)
    assert (run.dir / run.state().checkpoints[0]["file"]).is_file()


def test_a_run_that_has_ended_can_be_asked_for_nothing(desk):
    run = desk.submit(request())
    desk.wait(run.run_id, poll_s=0.05)
    for ask in (desk.pause, desk.checkpoint_now, desk.sample_now):
        with pytest.raises(Conflict):
            ask(run.run_id)
    desk.stop(run.run_id)
    assert run.state().status == "completed"


def test_a_request_left_behind_does_not_stop_the_next_attempt(training):
    desk, run = training
    desk.stop(run.run_id)
    desk.wait(run.run_id, poll_s=0.05)
    run.ask("stop")
    desk.resume(run.run_id)
    assert desk.wait(run.run_id, poll_s=0.05).status == "completed"


def test_a_run_is_deleted_into_the_trash_and_only_when_it_is_over(training):
    desk, run = training
    with pytest.raises(Conflict):
        desk.delete(run.run_id)
    desk.stop(run.run_id)
    desk.wait(run.run_id, poll_s=0.05)
    kept = desk.delete(run.run_id)
    assert (kept / "run" / "plan.yaml").is_file()
    with pytest.raises(NotFound):
        desk.run(run.run_id)


def test_a_published_run_is_not_deleted(desk):
    run = desk.submit(request())
    desk.wait(run.run_id, poll_s=0.05)
    record = run.dir / "package" / "alice" / "package.json"
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    with pytest.raises(Conflict):
        desk.delete(run.run_id)


def test_a_run_whose_dataset_changed_is_not_resumed_on_other_pictures(training, workspace):
    desk, run = training
    desk.stop(run.run_id)
    desk.wait(run.run_id, poll_s=0.05)
    rows = (workspace.dataset_dir("alice") / "captions.jsonl").read_text()
    (workspace.dataset_dir("alice") / "captions.jsonl").write_text(rows.replace("portrait", "profile"))
    with pytest.raises(Conflict, match="has changed"):
        desk.resume(run.run_id)


def test_a_renamed_base_model_is_found_again_and_another_one_of_that_name_refused(training, tmp_path):
    desk, run = training
    desk.stop(run.run_id)
    desk.wait(run.run_id, poll_s=0.05)
    base = run.plan().base_model.name
    file = tmp_path / "models" / "checkpoints" / base
    file.write_bytes(file.read_bytes()[:-2] + b"\x01\x01")
    with pytest.raises(Conflict, match="not the one that this run began with"):
        desk.resume(run.run_id)


def test_a_run_is_not_resumed_by_another_version_of_its_engine_or_against_obstacles(training, desk_with):
    desk, run = training
    desk.stop(run.run_id)
    desk.wait(run.run_id, poll_s=0.05)
    with pytest.raises(Conflict, match="version quick-1 of the native engine; here is quick-2"):
        desk_with(QuickEngine(number="quick-2")).resume(run.run_id)
    no_gpu = Problem("no_gpu", "There is no GPU.", "Buy one.")
    with pytest.raises(Refused, match="There is no GPU"):
        desk_with(QuickEngine(obstacles=(no_gpu,))).resume(run.run_id)


def test_a_trainer_that_was_alive_before_a_power_cut_is_told_dead_with_its_step(desk):
    run = desk.submit(request())
    desk.wait(run.run_id, poll_s=0.05)
    pretend_power_cut(run, step=7)
    desk.reconcile()
    state = run.state()
    assert state.status == "failed"
    assert "died at step 7 of 12 (how it ended is not known)" in state.problem
    assert "Resume continues from step" in state.fix
    desk.reconcile()
    assert run.state().last_seq == state.last_seq


def pretend_power_cut(run, *, step: int) -> None:
    """Leave the folder as a machine leaves it that lost its power while the second attempt was at `step`."""
    log = EventLog(run.events_file)
    log.write("run_started", attempt=2, engine="native", pid=1, total=12, resumed_from=4)
    log.write("progress", step=step, total=12, epoch=1, loss=0.1, loss_ema=0.1, lr={"unet": 1e-4})
    log.close()
    identity = run.identity()
    keeper = {**identity.keeper, "boot_id": "before"}
    run.write_identity(
        replace(identity, boot_id="before", keeper=keeper, ended=None, exit_code=None, attempt=2)
    )


def test_a_run_that_was_never_started_after_a_crash_of_the_desk_is_told_so(desk, workspace):
    check = desk.check(request())
    run_dir = workspace.run_dir(check.plan.character, check.plan.run_id)
    run_dir.mkdir(parents=True)
    (run_dir / "plan.yaml").write_text(check.plan.to_yaml())
    desk.reconcile()
    assert desk.state(check.plan.run_id).status == "stopped"
    desk.submit(check)
    assert desk.wait(check.plan.run_id, poll_s=0.05).status == "completed"


def test_a_prompt_waits_in_the_run_until_it_has_finished(training):
    desk, run = training
    held = HeldPrompt({"1": {"class_type": "Grid", "inputs": {}}})
    desk.submit(request(settings={"max_train_steps": 60, "save_every_n_steps": 20}), held_prompt=held)
    assert desk.runs_with_held_prompts() == []
    desk.stop(run.run_id)
    desk.wait(run.run_id, poll_s=0.05)
    assert desk.runs_with_held_prompts() == [run]


def test_runs_are_listed_newest_first_with_what_a_reader_wants_to_know(desk, workspace):
    make_dataset(workspace, "bob")
    first = desk.submit(request())
    desk.wait(first.run_id, poll_s=0.05)
    second = desk.submit(request(dataset="bob"))
    desk.wait(second.run_id, poll_s=0.05)
    rows = desk.runs()
    assert {(row.slug, row.status, row.step, row.total) for row in rows} == {
        ("alice", "completed", 12, 12),
        ("bob", "completed", 12, 12),
    }
    assert rows[0].created >= rows[1].created


def test_logs_of_every_attempt_are_found_by_name_and_time(desk, workspace):
    run = desk.submit(request())
    desk.wait(run.run_id, poll_s=0.05)
    (link,) = (workspace.logs_dir / "alice").glob("*.log")
    assert link.read_bytes() == run.log_file.read_bytes()
    assert link.resolve() == run.log_file.resolve()


def test_what_a_run_was_trained_with_is_written_down(desk):
    run = desk.submit(request())
    desk.wait(run.run_id, poll_s=0.05)
    facts = json.loads(run.environment_file.read_text())
    assert facts["python"] and facts["packages"]["numpy"]
    identity = run.identity()
    assert (identity.exit_code, identity.attempt) == (0, 1)
    assert identity.ended is not None
    assert not supervisor.trainer_lives(run)


def test_a_run_that_another_desk_deletes_meanwhile_is_not_found(desk, monkeypatch):
    """Resume and delete look for the run, wait for the lock, and find it gone."""
    for act in (desk.resume, desk.delete):
        run = desk.submit(request(settings={"seed": 11}))
        desk.wait(run.run_id, poll_s=0.05)
        run.append("run_finished", outcome="stopped", step=1, problem="", fix="")
        monkeypatch.setattr(type(desk), "run", lambda self, run_id, run=run: shutil.rmtree(run.dir) or run)
        with pytest.raises(NotFound, match="is gone"):
            act(run.run_id)
        assert not run.dir.exists()
        monkeypatch.undo()


def test_a_start_takes_away_what_was_asked_of_the_attempt_before_and_nothing_else(desk):
    run = desk.submit(request(settings={"seed": 12}))
    desk.wait(run.run_id, poll_s=0.05)
    for name in ("stop", ".stop.0123456789ab.tmp", ".mine", "notes.txt", ".stop-mine"):
        run.files.write(run.control_dir / name, "{}")
    run.append("run_finished", outcome="stopped", step=1, problem="", fix="")
    desk.resume(run.run_id)
    desk.wait(run.run_id, poll_s=0.05)
    assert {each.name for each in run.files.entries("control")} == {".mine", "notes.txt", ".stop-mine"}
