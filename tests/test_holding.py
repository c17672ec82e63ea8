"""A trainer holds still while it is paused or its GPU is lent, and no loan lasts for ever."""

import json
import threading
import time

import pytest

from kohya_bridge.engines import holding
from kohya_bridge.engines.child import Controls
from kohya_bridge.engines.holding import LEASE_S, Loan, hold_still, reason_to_hold
from kohya_bridge.engines.reporter import Reporter
from kohya_bridge.run_folder import RunFolder
from tests.waiting import wait_until


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def lent(tmp_path):
    """A loan file, its trainer's view, and the trainer's clock."""
    clock = Clock()
    file = tmp_path / "lend"

    def write(name="one", **more):
        before = file.stat().st_mtime_ns if file.exists() else 0
        while not file.exists() or file.stat().st_mtime_ns == before:
            file.write_text(json.dumps({"name": name, **more}))

    return write, Loan(file, clock=clock), clock


def test_nothing_is_lent_where_nobody_asks(lent):
    _, loan, _ = lent
    assert not loan.stands()


def test_a_loan_stands_until_it_is_withdrawn(lent):
    write, loan, _ = lent
    write()
    assert loan.stands()
    loan.file.unlink()
    assert not loan.stands()
    assert loan.ending == holding.WITHDRAWN


def test_a_lender_that_is_gone_loses_its_loan_and_one_that_was_only_slow_gets_it_back(lent):
    write, loan, clock = lent
    write()
    assert loan.stands()
    clock.now += LEASE_S + 1
    assert not loan.stands()
    assert loan.ending == holding.LENDER_GONE
    write()
    assert loan.stands()


def test_a_loan_that_is_renewed_for_ever_ends_after_its_time_and_the_next_one_is_new(lent):
    write, loan, clock = lent
    for _ in range(10):
        write(most_s=100)
        assert loan.stands()
        clock.now += 10
    clock.now += 1
    write(most_s=100)
    assert not loan.stands()
    assert loan.ending == holding.OVERDUE
    write("two", most_s=100)
    assert loan.stands()


def test_a_file_that_was_touched_by_hand_is_a_loan_with_the_usual_limits(lent):
    _, loan, clock = lent
    loan.file.touch()
    assert loan.stands()
    clock.now += LEASE_S + 1
    assert not loan.stands()


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (set(), None),
        ({"lend"}, "lend"),
        ({"lend", "pause"}, "pause"),
        ({"lend", "stop"}, None),
        ({"checkpoint"}, None),
    ],
)
def test_a_pause_goes_before_a_loan_and_a_stop_before_both(wanted, reason):
    assert reason_to_hold(wanted) == reason


class Holding:
    """A trainer in a thread that holds still, and what it moved."""

    def __init__(self, run):
        self.run, self.moves, self.after = run, [], None
        self.controls, self.report = Controls(run.control_dir), Reporter(run.dir, keep_states=2)

    def start(self):
        self.thread = threading.Thread(target=self._hold)
        self.thread.start()
        return self

    def _hold(self):
        release, restore = lambda: self.moves.append("off"), lambda: self.moves.append("back")
        self.after = hold_still(self.controls, self.report, release=release, restore=restore, poll_s=0.01)

    def wait_for(self, status):
        wait_until(lambda: self.run.state().status == status, lambda: self.run.state().status, poll_s=0.01)

    def told(self):
        self.thread.join()
        return [(row["action"], row.get("reason")) for row in self.run.events() if row["kind"] == "control"]


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "alice" / "0123456789ab")


def test_weights_leave_once_and_come_back_once_however_the_reasons_change(run):
    run.ask("lend", name="one")
    trainer = Holding(run).start()
    trainer.wait_for("lent")
    run.ask("pause")
    trainer.wait_for("paused")
    run.withdraw("lend")
    time.sleep(0.05)
    assert run.state().status == "paused"
    run.ask("lend", name="two")
    run.withdraw("pause")
    trainer.wait_for("lent")
    run.withdraw("lend")
    assert trainer.told() == [
        ("lend", None),
        ("pause", None),
        ("lend", None),
        ("take_back", "withdrawn"),
    ]
    assert trainer.moves == ["off", "back"]
    assert run.state().status == "training"


def test_a_stop_ends_a_loan(run):
    run.ask("lend", name="one")
    trainer = Holding(run).start()
    trainer.wait_for("lent")
    run.ask("stop")
    assert trainer.told()[-1] == ("take_back", "stopped")
    assert "stop" in trainer.after


def test_an_overdue_loan_is_told_as_a_notice(run):
    run.ask("lend", name="one", most_s=0.2)
    trainer = Holding(run).start()
    assert trainer.told()[-1] == ("take_back", "overdue")
    (notice,) = run.state().notices
    assert notice["code"] == "loan_overdue"
    assert trainer.after == set()


def test_the_trainer_tries_again_while_there_is_no_room_for_its_weights(run):
    tries = []

    def restore():
        tries.append(time.monotonic())
        if len(tries) < 3:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    run.ask("pause")
    threading.Timer(0.05, run.withdraw, ["pause"]).start()
    hold_still(Controls(run.control_dir), Reporter(run.dir, keep_states=2), restore=restore, poll_s=0.01)
    assert len(tries) == 3
    assert run.state().status == "training"
