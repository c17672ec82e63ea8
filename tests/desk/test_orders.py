"""What is started, stopped or waited for is what this machine was asked for here; a folder that somebody passed on asks for nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from kohya_bridge import machine_key, processes, supervisor
from kohya_bridge.engines.contract import python_module_command
from kohya_bridge.errors import BridgeError, Conflict
from kohya_bridge.run_folder import ChildIdentity, RunFolder
from kohya_bridge.steering.former_orders import MARK
from kohya_bridge.steering.orders import Order, Orders
from kohya_bridge.workspace import PACK_ROOT
from tests.desk.conftest import request
from tests.desk.test_queue import submit_slow_then, wait_until
from tests.doubles.quick_engine import TRAINER, QuickEngine


@pytest.fixture
def canary(tmp_path):
    """A file that the commands in hostile folders write, and a command that writes it."""
    return tmp_path / "somebody-was-here"


def command_of(canary) -> dict:
    """What a version before wrote into `queued.json` and `launch.json`, with a command of somebody else's."""
    words = [sys.executable, "-c", f"open({str(canary)!r}, 'w').write('!')"]
    return {"place": 0.0, "attempt": 1, "argv": words, "cwd": "/", "environment": {"X": "1"}, "time": 1.0}


def planned(desk, **changes) -> RunFolder:
    """A run of which there is a plan and nothing else, as it is received."""
    plan = desk.check(request(**changes)).plan
    run = RunFolder(desk.workspace.run_dir(plan.character, plan.run_id))
    run.dir.mkdir(parents=True)
    run.plan_file.write_text(plan.to_yaml())
    return run


def look_around(desk, run) -> None:
    """Everything that looks at a workspace and moves its queue on."""
    desk.reconcile()
    desk.start_watching(lambda run, event: None)
    desk.slot.advance()
    desk.wait(run.run_id, poll_s=0.01)
    desk.runs()
    desk.stop_watching()


@pytest.mark.parametrize("place", ["queued.json", "launch.json"])
@pytest.mark.parametrize("came", ["before the first look", "later"])
def test_a_command_in_a_received_folder_is_not_run(desk, canary, place, came):
    if came == "later":
        desk.reconcile()
    run = planned(desk)
    (run.dir / place).write_text(json.dumps(command_of(canary)))
    look_around(desk, run)
    assert not canary.exists()
    assert run.state().status == "stopped" and desk.queue() == []
    assert desk.submit(request()) == run
    assert desk.wait(run.run_id, poll_s=0.05).status == "completed"
    assert not canary.exists()


def order_of(desk, run) -> Order:
    return Order(run, "native", 0.0, 1, desk.places.folders)


def altered(file, **changes) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def foreign_orders(desk, other_workspace, monkeypatch, tmp_path):
    """By name: how an order may lie in the queue that this machine did not put there."""

    def of_another_machine(run, file):
        with monkeypatch.context() as elsewhere:
            elsewhere.setenv(machine_key.FOLDER_VARIABLE, str(tmp_path / "their key"))
            Orders(desk.workspace).put(order_of(desk, run))

    def of_another_workspace(run, file):
        theirs = RunFolder(other_workspace.run_dir(run.slug, run.run_id))
        Orders(other_workspace).put(replace(order_of(desk, run), run=theirs))
        shutil.copy(other_workspace.runs_dir / ".queue" / file.name, file)

    def of_another_run(run, file):
        Orders(desk.workspace).put(order_of(desk, planned(desk, settings={"seed": 77})))
        (other,) = file.parent.glob("[0-9a-f]*.json")
        altered(other, run_id=run.run_id)
        other.rename(file)

    def ours_then(**changes):
        def make(run, file):
            Orders(desk.workspace).put(order_of(desk, run))
            altered(file, **changes)

        return make

    return {
        "of another machine": of_another_machine,
        "of another workspace": of_another_workspace,
        "of another run": of_another_run,
        "without a signature": ours_then(signature=None),
        "with a number for one": ours_then(signature=12),
        "with other model folders": ours_then(folders={"checkpoints": ["/"], "loras": [], "tokenizer": "/", "models": {}}),
        "with another engine": ours_then(engine="kohya"),
        "moved to the front": ours_then(place=-1.0),
    }  # fmt: skip


def test_a_run_that_waited_in_the_line_of_another_machine_is_told_how_to_wait_here(desk):
    run = planned(desk)
    run.append("queued", position=3)
    desk.reconcile()
    state = run.state()
    assert (state.status, state.code) == ("stopped", "unqueued") and "Resume" in state.fix
    desk.resume(run.run_id)
    assert desk.wait(run.run_id, poll_s=0.05).status == "completed"


FOREIGN = (
    "of another machine", "of another workspace", "of another run", "without a signature", "with a number for one",
    "with other model folders", "with another engine", "moved to the front",
)  # fmt: skip


@pytest.mark.parametrize("how", FOREIGN)
def test_an_order_that_this_machine_did_not_give_here_waits_for_a_person(desk, monkeypatch, tmp_path, how):
    other = type(desk.workspace).at(tmp_path / "elsewhere")
    made = foreign_orders(desk, other, monkeypatch, tmp_path)
    assert set(made) == set(FOREIGN)
    run = planned(desk)
    file = desk.workspace.runs_dir / ".queue" / f"{run.run_id}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    made[how](run, file)
    look_around(desk, run)
    assert file.exists() and desk.queue() == []
    assert [each.run for each in desk.slot.orders.foreign()] == [run]
    assert [event["kind"] for event in run.events()] == []


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "null", "[" * 100_000, '{"version": 1}', '{"version": 1e999}', "\xff\xfe", '{"place": NaN}'],
)  # fmt: skip
def test_a_damaged_order_costs_the_others_nothing(desk, text):
    slot = desk.slot
    with slot.locked():
        slot.orders.put(order_of(desk, planned(desk)))
    (slot.workspace.runs_dir / ".queue" / f"{0:012x}.json").write_text(text, "latin-1")
    (slot.workspace.runs_dir / ".queue" / f"{1:012x}.json").mkdir()
    os.mkfifo(slot.workspace.runs_dir / ".queue" / f"{2:012x}.json")
    assert len(desk.queue()) == 1 and slot.orders.foreign() == []
    started = slot.advance()
    assert desk.wait(started.run_id, poll_s=0.05).status == "completed"


# --- orders of the version before -----------------------------------------------------------------------------------


def former_order(desk, run, canary, place) -> None:
    """What the version before wrote when a run had to wait: a ready-made command that names the run's folder, and `child.json`."""
    told = command_of(canary)
    check = desk.check(request(settings={"seed": run.plan().settings.seed}))
    QuickEngine().command(run, check.plan, check.paths, resume=None)
    (run.dir / "queued.json").write_text(
        json.dumps({**told, "place": place, "argv": [*told["argv"], str(run.dir)]})
    )


@pytest.mark.parametrize("spoil", [Path.touch, lambda place: place.symlink_to("nowhere"), os.mkfifo])
def test_a_line_that_can_not_be_kept_is_said_and_whoever_would_wait_in_it_is_told(desk, caplog, spoil):
    place = desk.workspace.runs_dir / ".queue"
    desk.slot.close_orphans()
    assert "can wait" not in caplog.text
    if place.exists():
        shutil.rmtree(place)
    place.parent.mkdir(exist_ok=True)
    spoil(place)
    desk.slot.close_orphans()
    assert (
        "No run of this workspace can wait for the GPU: runs/.queue is not a folder. Move it away."
        in caplog.text
    )
    assert desk.queue() == []
    with pytest.raises(BridgeError, match=r"\.queue"):
        desk.submit(request())
    (run,) = desk.slot.runs()
    desk.slot.close_orphans()
    assert run.state().status == "stopped", "it does not wait, and is shown so"
    desk.delete(run.run_id)


def test_runs_that_waited_while_the_pack_was_updated_go_on_in_their_order_and_are_made_again(desk, canary):
    runs = [planned(desk, settings={"seed": seed}) for seed in (1, 2, 3)]
    for run, place in zip(runs, (2.0, 0.0, 1.0), strict=True):
        former_order(desk, run, canary, place)
    for run in runs:
        assert desk.wait(run.run_id, poll_s=0.05).status == "completed"
    began = [next(event["time"] for event in run.events() if event["kind"] == "run_started") for run in runs]
    assert began[1] < began[2] < began[0]
    assert not canary.exists() and not any((run.dir / "queued.json").exists() for run in runs)


def test_the_keeper_of_a_run_finds_their_base_model_where_it_was_when_they_were_given(desk_with, canary):
    """No desk is asked for anything after the update: the keeper takes the line over, and knows no model folder."""
    slow, _, desk = submit_slow_then(desk_with, [], steps=40)
    waiting = planned(desk, settings={"seed": 3})
    former_order(desk, waiting, canary, 0.0)
    (desk.workspace.runs_dir / MARK).unlink()
    wait_until(lambda: waiting.state().is_finished)
    assert (slow.state().status, waiting.state().status) == ("completed", "completed")
    assert not canary.exists()


def test_they_are_taken_over_once_and_what_comes_later_is_no_order(desk, canary):
    desk.reconcile()
    assert (desk.workspace.runs_dir / MARK).is_file()
    run = planned(desk)
    former_order(desk, run, canary, 0.0)
    desk.reconcile()
    assert desk.queue() == [] and run.state().status == "stopped"
    assert not canary.exists()


# --- processes -------------------------------------------------------------------------------------------------------


@pytest.fixture
def bystander():
    """Somebody else's process."""
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def identity_of(pid: int, *, keeper: int | None = None) -> ChildIdentity:
    mark = processes.mark(pid)
    return ChildIdentity(
        **mark.to_json(), argv=("x",), attempt=1, keeper=processes.mark(keeper).to_json() if keeper else None
    )


@pytest.mark.parametrize("role", ["trainer", "keeper", "both"])
@pytest.mark.parametrize("at_once", [False, True])
def test_a_process_that_a_folder_names_is_not_ended_and_does_not_hold_the_slot(
    desk, bystander, role, at_once
):
    run = planned(desk)
    gone = subprocess.Popen(["sleep", "600"])
    trainer = bystander.pid if role != "keeper" else gone.pid
    run.write_identity(identity_of(trainer, keeper=bystander.pid if role != "trainer" else None))
    gone.kill()
    gone.wait()
    assert not supervisor.trainer_lives(run) and not supervisor.keeper_lives(run)
    with pytest.raises(Conflict, match=rf"names process {bystander.pid}, .* nothing was sent to it"):
        desk.stop(run.run_id, at_once=at_once)
    sound = desk.submit(request(settings={"seed": 5}))
    assert desk.wait(sound.run_id, poll_s=0.05).status == "completed"
    desk.stop(run.run_id, at_once=at_once)
    assert bystander.poll() is None
    assert run.state().status == "failed"


def test_a_folder_that_was_copied_from_a_run_that_trains_ends_nothing_of_it(desk_with):
    """The processes that it names are ours and alive, and work for another run."""
    desk = desk_with(QuickEngine(seconds_per_step=0.05))
    living = desk.submit(request(settings={"max_train_steps": 60}))
    wait_until(lambda: supervisor.trainer_lives(living) and desk.state(living.run_id).step > 0)
    copied = planned(desk, settings={"seed": 5})
    shutil.copytree(living.dir, copied.dir, dirs_exist_ok=True, ignore=shutil.ignore_patterns("plan.yaml"))
    for at_once in (False, True):
        with pytest.raises(Conflict, match="which was not started for this run: nothing was sent to it"):
            desk.stop(copied.run_id, at_once=at_once)
    assert not supervisor.trainer_lives(copied) and not copied.asked("stop")
    assert supervisor.trainer_lives(living)
    assert desk.wait(living.run_id, poll_s=0.05).status == "completed"


def test_a_keeper_that_is_told_to_adopt_somebody_else_refuses(desk, bystander, tmp_path):
    run = planned(desk)
    identity = identity_of(bystander.pid)
    run.write_identity(identity)
    outcome = supervisor.adopt(run)
    assert not outcome and "does not train this run" in outcome.failure
    assert bystander.poll() is None


def as_the_version_before_started_it(run) -> subprocess.Popen[bytes]:
    """A trainer with the command line of the native engine (isolated start) and nothing in its environment that names the run."""
    code = f"import runpy, sys; sys.argv = ['x', sys.argv.pop()]; runpy.run_path({str(TRAINER)!r}, run_name='__main__')"
    usual = python_module_command("-").environment
    return subprocess.Popen(
        [sys.executable, "-c", code, str(PACK_ROOT), "kohya_bridge.engines.native", str(run.dir)],
        env={**os.environ, **usual},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture
def former_trainer(desk_with):
    """A run whose trainer was started by the version before and whose keeper is gone, with a `run.json` of that version."""
    desk = desk_with(QuickEngine(seconds_per_step=0.05))
    wanted = request(settings={"max_train_steps": 60})
    run = planned(desk, settings={"max_train_steps": 60})
    check = desk.check(wanted)
    QuickEngine(seconds_per_step=0.05).command(run, check.plan, check.paths, resume=None)
    trainer = as_the_version_before_started_it(run)
    identity = asdict(replace(identity_of(trainer.pid), keeper=None))
    run.identity_file.write_text(json.dumps(identity))
    wait_until(lambda: run.state().step >= 3)
    yield desk, run, trainer
    trainer.kill()
    trainer.wait()


def test_a_trainer_of_the_version_before_is_adopted_and_completes(former_trainer):
    desk, run, trainer = former_trainer
    desk.reconcile()
    assert supervisor.trainer_lives(run) and supervisor.keeper_lives(run)
    trainer.wait()  # its parent reaps it, as the keeper of then would have
    state = desk.wait(run.run_id, poll_s=0.05)
    assert (state.status, state.attempt) == ("completed", 1)


def test_a_trainer_of_the_version_before_is_stopped(former_trainer):
    desk, run, trainer = former_trainer
    desk.stop(run.run_id)
    trainer.wait(20)
    assert desk.wait(run.run_id, poll_s=0.05).status == "stopped"


def test_a_former_version_that_still_runs_is_told_to_be_restarted(desk, canary):
    """It starts the keeper of today's files with nothing on its input, and `launch.json` for it to find."""
    run = planned(desk)
    (run.dir / "launch.json").write_text(json.dumps(command_of(canary)))
    command = python_module_command("kohya_bridge.keeper", str(run.dir))
    answer = subprocess.run(
        command.argv, cwd=command.cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        env={**os.environ, **command.environment},
    )  # fmt: skip
    assert "restart ComfyUI" in json.loads(answer.stdout)["failure"]
    assert answer.returncode == 1 and not canary.exists()


# --- making the command again ----------------------------------------------------------------------------------------


def test_a_folder_with_the_plan_of_another_run_starts_nothing(desk):
    run = planned(desk, settings={"seed": 1})
    other = desk.check(request(settings={"seed": 2})).plan
    run.plan_file.write_text(other.to_yaml())
    with pytest.raises(Conflict, match="that of another run"):
        desk.resume(run.run_id)
    with pytest.raises(Conflict, match="that of another run"):
        desk.submit(request(settings={"seed": 1}))
    assert not run.child_file.exists()


def test_a_plan_that_was_damaged_is_written_again_by_whoever_submits_it(desk):
    run = planned(desk)
    whole = run.plan_file.read_text()
    run.plan_file.write_text(whole[: len(whole) // 2] + "\0")
    assert desk.submit(request()) == run
    assert run.plan_file.read_text() == whole
    assert desk.wait(run.run_id, poll_s=0.05).status == "completed"


def test_what_has_changed_while_a_run_waited_is_told_and_the_next_one_gets_its_turn(desk_with, workspace):
    _, (waiting,), _ = submit_slow_then(desk_with, [1], steps=40)
    other = desk_with().submit(request(settings={"seed": 2}, dataset=_copy_of_alice(workspace)))
    captions = workspace.dataset_dir("alice") / "captions.jsonl"
    captions.write_text(captions.read_text().replace("portrait", "profile"))
    wait_until(lambda: other.state().is_finished)
    assert waiting.state().status == "failed"
    assert "has changed since this run was planned" in waiting.state().problem
    assert "Submit it again" in waiting.state().fix
    assert other.state().status == "completed"


def _copy_of_alice(workspace) -> str:
    shutil.copytree(workspace.dataset_dir("alice"), workspace.dataset_dir("bob"))
    return "bob"


def test_the_next_run_is_made_from_the_model_folders_of_whoever_ordered_it(desk_with, tmp_path):
    """The keeper that starts it knows none: no ComfyUI tells it, and the shell's were named on its command line."""
    _, (waiting,), desk = submit_slow_then(desk_with, [1], steps=10)
    (order,) = desk.slot.line()
    assert order.folders["checkpoints"] == [str(tmp_path / "models" / "checkpoints")]
    wait_until(lambda: waiting.state().is_finished)
    assert waiting.state().status == "completed"


def test_an_order_says_nothing_of_commands(desk_with):
    _, _, desk = submit_slow_then(desk_with, [1])
    (file,) = (desk.workspace.runs_dir / ".queue").glob("[0-9a-f]*.json")
    told = json.loads(file.read_text())
    assert set(told) == {
        "version", "workspace", "slug", "run_id", "engine", "place", "attempt", "folders", "time", "signature",
    }  # fmt: skip
    assert sys.executable not in file.read_text()


def test_whoever_is_killed_between_start_and_the_end_of_the_order_starts_nothing_twice(desk):
    run = desk.submit(request())
    desk.wait(run.run_id, poll_s=0.05)
    with desk.slot.locked():
        desk.slot.orders.put(replace(order_of(desk, run), attempt=run.identity().attempt))
    assert desk.slot.advance() is None
    assert desk.queue() == [] and run.state().attempt == 1


@pytest.mark.started_for_real
def test_the_keeper_stays_small_while_it_waits_for_a_trainer(desk_with):
    desk = desk_with(QuickEngine(seconds_per_step=0.1))
    run = desk.submit(request(settings={"max_train_steps": 200}))
    wait_until(lambda: run.state().step >= 3)
    keeper = psutil.Process(run.identity().keeper["pid"])
    time.sleep(0.3)
    memory = keeper.memory_full_info()
    print(f"keeper: {memory.rss / 2**20:.1f} MiB resident, {memory.uss / 2**20:.1f} MiB its own")
    assert memory.uss < 24 << 20
