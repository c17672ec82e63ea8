"""A run that trains lends its GPU to whoever asks, takes it back in every case, and trains the same bytes."""

import time

import pytest

from kohya_bridge.steering.lending import Lender, lends_gpu, let_lend
from kohya_bridge.steering.slot import Slot
from tests.desk.conftest import request
from tests.doubles.quick_engine import QuickEngine
from tests.waiting import wait_until

SETTINGS = {"max_train_steps": 60, "save_every_n_steps": 20}


@pytest.fixture
def training(desk_with):
    """A run between its third step and its last."""
    desk = desk_with(QuickEngine(seconds_per_step=0.03))
    run = desk.submit(request(settings=SETTINGS))
    wait_until(lambda: run.state().step >= 3)
    return desk, run


def status_is(run, status):
    return lambda: run.state().status == status


def test_a_run_makes_room_holds_still_and_goes_on(training):
    desk, run = training
    lender = Lender(desk.slot)
    lender.lend()
    wait_until(lender.is_free)
    assert lender.was_taken() and run.state().status == "lent"
    step = run.state().step
    time.sleep(0.2)
    lender.lend()
    assert run.state().step == step
    lender.take_back()
    assert desk.wait(run.run_id, poll_s=0.05).status == "completed"
    assert not run.asked("lend")


def test_the_result_is_the_same_to_the_byte(training, desk_with, tmp_path):
    desk, run = training
    lender = Lender(desk.slot)
    for _ in range(3):
        lender.lend()
        wait_until(lender.is_free)
        lender.take_back()
        time.sleep(0.05)
    lent = desk.wait(run.run_id, poll_s=0.05).checkpoints[-1]["sha256"]
    desk.delete(run.run_id)
    again = desk.submit(request(settings=SETTINGS))
    assert desk.wait(again.run_id, poll_s=0.05).checkpoints[-1]["sha256"] == lent


def test_a_lender_that_dies_leaves_no_run_standing(training):
    """Nobody withdraws and nobody renews; the loan's own time is over first here."""
    desk, run = training
    Lender(desk.slot, most_s=0.3).lend()
    wait_until(status_is(run, "lent"))
    assert desk.wait(run.run_id, poll_s=0.05).status == "completed"
    assert [row["code"] for row in run.state().notices] == ["loan_overdue"]


def test_a_run_that_may_not_lend_is_not_asked(training):
    desk, run = training
    let_lend(run, False)
    assert not lends_gpu(run)
    lender = Lender(desk.slot)
    lender.lend()
    assert not run.asked("lend") and lender.is_free() and not lender.lends
    let_lend(run, True)
    lender.lend()
    assert run.asked("lend")
    lender.take_back()


def test_forbidding_it_ends_a_loan_that_stands(training):
    desk, run = training
    Lender(desk.slot).lend()
    wait_until(status_is(run, "lent"))
    let_lend(run, False)
    assert desk.wait(run.run_id, poll_s=0.05).status == "completed"


def test_nothing_is_lent_while_a_borrower_waits_for_a_run(training):
    desk, run = training
    lender = Lender(desk.slot)
    lender.lend()
    wait_until(status_is(run, "lent"))
    with lender.nobody_borrows():
        lender.lend()
        assert not run.asked("lend")
        wait_until(lambda: run.state().status == "training")
    lender.lend()
    assert run.asked("lend")
    lender.take_back()


def test_the_next_in_line_is_asked_as_soon_as_it_trains(desk_with):
    desk = desk_with(QuickEngine(seconds_per_step=0.03))
    first = desk.submit(request(settings={**SETTINGS, "max_train_steps": 10}))
    second = desk.submit(request(settings={**SETTINGS, "seed": 7}))
    desk.wait(first.run_id, poll_s=0.05)
    wait_until(lambda: second.state().step >= 1)
    lender = Lender(Slot(desk.workspace))
    lender.lend()
    assert second.asked("lend") and not first.asked("lend")
    lender.take_back()


def test_a_loan_left_behind_does_not_hold_the_next_attempt(training):
    desk, run = training
    Lender(desk.slot).lend()
    wait_until(status_is(run, "lent"))
    desk.stop(run.run_id)
    assert desk.wait(run.run_id, poll_s=0.05).status == "stopped"
    desk.resume(run.run_id)
    assert desk.wait(run.run_id, poll_s=0.05).status == "completed"
