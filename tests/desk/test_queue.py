"""One trainer at a time, in the order of asking; the line lives on disk and moves without anybody watching."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from kohya_bridge import supervisor
from kohya_bridge.errors import Conflict
from kohya_bridge.workspace import PACK_ROOT
from tests.desk.conftest import request
from tests.doubles.quick_engine import QuickEngine
from tests.waiting import wait_until


def submit_slow_then(desk_with, seeds, *, steps=400, seconds=0.05):
    """A run that holds the slot for a while, and quick ones behind it."""
    slow = desk_with(QuickEngine(seconds_per_step=seconds)).submit(
        request(character="slow", settings={"max_train_steps": steps})
    )
    desk = desk_with()
    return slow, [desk.submit(request(settings={"seed": seed})) for seed in seeds], desk


def began(run) -> float:
    return next(event["time"] for event in run.events() if event["kind"] == "run_started")


def ended(run) -> float:
    return max(event["time"] for event in run.events() if event["kind"] == "run_finished")


def test_runs_wait_in_the_order_of_asking_and_know_their_place(desk_with):
    _, waiting, desk = submit_slow_then(desk_with, [1, 2, 3])
    assert desk.queue() == [run.run_id for run in waiting]
    assert [run.state().queue_position for run in waiting] == [1, 2, 3]
    assert [run.state().status for run in waiting] == ["queued"] * 3


def test_a_waiting_run_can_be_moved_to_the_front(desk_with):
    _, (first, second, third), desk = submit_slow_then(desk_with, [1, 2, 3])
    desk.move(third.run_id, 1)
    assert desk.queue() == [third.run_id, first.run_id, second.run_id]
    assert [run.state().queue_position for run in (third, first, second)] == [1, 2, 3]


def test_a_run_that_trains_has_no_place_to_be_moved_to(desk_with):
    slow, _, desk = submit_slow_then(desk_with, [])
    with pytest.raises(Conflict):
        desk.move(slow.run_id, 1)


def test_asking_again_for_a_waiting_run_keeps_its_place(desk_with):
    _, waiting, desk = submit_slow_then(desk_with, [1, 2])
    desk.submit(request(settings={"seed": 1}))
    assert desk.queue() == [run.run_id for run in waiting]


def test_a_waiting_run_that_is_stopped_leaves_the_line_and_can_come_back(desk_with):
    _, (first, second), desk = submit_slow_then(desk_with, [1, 2])
    desk.stop(first.run_id)
    assert desk.queue() == [second.run_id]
    assert (first.state().status, second.state().queue_position) == ("stopped", 1)
    desk.resume(first.run_id)
    assert desk.queue() == [second.run_id, first.run_id]


def test_the_line_is_worked_off_in_order_and_never_two_at_once(desk_with):
    slow, waiting, desk = submit_slow_then(desk_with, [1, 2], steps=10)
    for run in waiting:
        assert desk.wait(run.run_id, poll_s=0.05).status == "completed"
    runs = [slow, *waiting]
    for earlier, later in itertools.pairwise(runs):
        assert ended(earlier) <= began(later)


def test_the_next_run_starts_although_every_desk_is_closed(desk_with):
    """The keeper of the run that ends starts the next one: no desk is asked for anything here."""
    slow, (waiting,), _ = submit_slow_then(desk_with, [1], steps=10)
    wait_until(lambda: waiting.state().is_finished)
    assert waiting.state().status == "completed"
    assert ended(slow) <= began(waiting)


def test_a_run_that_cannot_be_started_does_not_block_the_line(desk_with):
    submit_slow_then(desk_with, [], steps=10)
    broken = desk_with(QuickEngine(interpreter="/nowhere/python")).submit(request(settings={"seed": 8}))
    sound = desk_with().submit(request(settings={"seed": 9}))
    wait_until(lambda: sound.state().is_finished)
    assert (broken.state().status, sound.state().status) == ("failed", "completed")


SUBMITTER = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from kohya_bridge.desk import Desk
    from kohya_bridge.workspace import Workspace
    from tests.desk.conftest import request
    from tests.doubles.quick_engine import QuickEngine

    root, seconds, steps, seed, then = Path(sys.argv[1]), *map(float, sys.argv[2:5]), sys.argv[5]
    desk = Desk(
        Workspace.at(root / "training"),
        checkpoint_dirs=[root / "models" / "checkpoints"],
        tokenizer_dir=root / "models" / "tokenizer",
        engines={"native": QuickEngine(seconds_per_step=seconds)},
    )
    wanted = request(settings={"seed": int(seed), "max_train_steps": int(steps)})
    print("ready", flush=True)
    sys.stdin.readline()
    run = desk.submit(wanted)
    print(run.run_id, flush=True)
    if then == "sleep":
        time.sleep(600)
    """
)


def another_process(root, *, seconds=0.05, steps=20, seed=5, then="end") -> subprocess.Popen[str]:
    """A process of its own that submits a request when it is told `go`."""
    arguments = [str(each) for each in (root, seconds, steps, seed, then)]
    environment = {**os.environ, "PYTHONPATH": str(PACK_ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", SUBMITTER, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=PACK_ROOT,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    process.stdin.write("go\n")
    process.stdin.flush()


def close(process: subprocess.Popen[str]) -> str:
    with process:
        return process.stdout.read().strip()


def test_three_desks_that_submit_the_same_plan_at_once_start_one_trainer(desk, tmp_path):
    processes = [another_process(tmp_path) for _ in range(3)]
    for process in processes:
        go(process)
    ids = {close(process) for process in processes}
    assert len(ids) == 1
    run = desk.run(ids.pop())
    assert desk.wait(run.run_id, poll_s=0.05).status == "completed"
    assert [event["kind"] for event in run.events()].count("run_started") == 1


def test_desks_that_submit_different_plans_at_once_never_train_two(desk, tmp_path):
    processes = [another_process(tmp_path, seed=seed, steps=10) for seed in range(3)]
    for process in processes:
        go(process)
    runs = [desk.run(close(process)) for process in processes]
    for run in runs:
        assert desk.wait(run.run_id, poll_s=0.05).status == "completed"
    runs.sort(key=began)
    for earlier, later in itertools.pairwise(runs):
        assert ended(earlier) <= began(later)


def test_killing_the_process_that_started_a_run_costs_the_run_nothing(desk, tmp_path):
    parent = another_process(tmp_path, steps=60, then="sleep")
    go(parent)
    run = desk.run(parent.stdout.readline().strip())
    wait_until(lambda: run.state().step >= 3)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    close(parent)

    desk.reconcile()
    assert supervisor.trainer_lives(run)
    assert desk.submit(request(settings={"seed": 5, "max_train_steps": 60})) == run
    state = desk.wait(run.run_id, poll_s=0.05)
    assert (state.status, state.step, state.attempt) == ("completed", 60, 1)
