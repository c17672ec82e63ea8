"""Every event of every run reaches the listener once and in order, and watching nothing costs nothing."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager

import pytest

from kohya_bridge.steering.slot import Slot
from kohya_bridge.steering.watch import POLL_S, Watcher
from tests.desk.conftest import request
from tests.doubles.quick_engine import QuickEngine
from tests.waiting import wait_until


def finished(heard, run) -> bool:
    return any(each == run and event["kind"] == "run_finished" for each, event in heard)


def test_a_listener_hears_every_event_once_and_in_order(desk):
    heard = []
    desk.start_watching(lambda run, event: heard.append((run, event)))
    run = desk.submit(request())
    desk.wait(run.run_id, poll_s=0.05)
    wait_until(lambda: finished(heard, run))
    time.sleep(3 * POLL_S)
    assert [event for _, event in heard] == list(run.events())


def test_events_of_a_run_that_another_desk_started_are_heard_too(desk_with):
    heard = []
    desk_with().start_watching(lambda run, event: heard.append((run, event)))
    other = desk_with(QuickEngine(seconds_per_step=0.01))
    run = other.submit(request())
    wait_until(lambda: finished(heard, run))


def test_what_happened_before_is_not_repeated(desk):
    run = desk.submit(request())
    desk.wait(run.run_id, poll_s=0.05)
    heard = []
    desk.start_watching(lambda run, event: heard.append((run, event)))
    time.sleep(3 * POLL_S)
    assert heard == []


def test_a_listener_that_fails_does_not_end_the_watch(desk):
    heard = []

    def fail_once(run, event):
        heard.append((run, event))
        if len(heard) == 1:
            raise RuntimeError("a listener's fault")

    desk.start_watching(fail_once)
    run = desk.submit(request())
    wait_until(lambda: finished(heard, run))


def test_the_thread_has_a_name_and_an_end(desk):
    desk.start_watching(lambda run, event: None)
    assert "wizdroid-watch" in [thread.name for thread in threading.enumerate()]
    desk.start_watching(lambda run, event: None)
    assert [thread.name for thread in threading.enumerate()].count("wizdroid-watch") == 1
    desk.stop_watching()
    assert "wizdroid-watch" not in [thread.name for thread in threading.enumerate()]


def test_a_desk_that_is_closed_in_mid_run_costs_the_run_nothing(desk_with):
    desk = desk_with(QuickEngine(seconds_per_step=0.2))
    desk.start_watching(lambda run, event: None)
    run = desk.submit(request())
    desk.stop_watching()
    assert not run.state().is_finished, "it waits for its thread, not for the run"
    wait_until(lambda: run.state().is_finished)
    assert run.state().status == "completed"


@pytest.fixture
def idle(desk):
    """A desk that watches two finished runs, and has done so for a while."""
    for seed in range(2):
        desk.wait(desk.submit(request(settings={"seed": seed})).run_id, poll_s=0.05)
    desk.start_watching(lambda run, event: None)
    time.sleep(3 * POLL_S)
    return desk


def test_watching_while_nothing_happens_opens_no_file_and_looks_once_a_poll(idle, monkeypatch):
    looks, opened = [], []
    look = Watcher._change
    monkeypatch.setattr(Watcher, "_change", lambda watcher: looks.append(1) or look(watcher))
    with told_of(("open", "os.listdir", "os.scandir"), opened):
        wait_until(lambda: len(looks) >= 5)
    assert opened == []


@pytest.mark.limits
def test_watching_while_nothing_happens_costs_next_to_no_time(idle):
    before = time.process_time()
    time.sleep(2)
    assert time.process_time() - before < 0.02


class SlotOnABadDisk(Slot):
    """Answers like any other until the disk fails, and again when it is mended."""

    fails = False
    looks = 0

    def open_attempts(self):
        self.looks += self.fails
        if self.fails:
            raise OSError(5, "Input/output error")
        return super().open_attempts()


def test_a_trouble_that_lasts_is_logged_once_and_the_watch_goes_on(desk, workspace, caplog):
    heard, slot = [], SlotOnABadDisk(workspace)
    watcher = Watcher(slot, lambda run, event: heard.append((run, event)))
    watcher.start()
    slot.fails = True
    for looks in (1, 2, 3):
        desk.slot.touch()
        wait_until(lambda looks=looks: slot.looks >= looks)
    slot.fails = False
    run = desk.submit(request())
    wait_until(lambda: finished(heard, run))
    watcher.stop()
    assert len([each for each in caplog.records if "Input/output error" in each.getMessage()]) == 1


@contextmanager
def told_of(kinds, found):
    """While the block runs, every event of Python's audit of these kinds that comes from the watcher's thread."""
    listening = True

    def note(kind, given):
        if listening and kind in kinds and threading.current_thread().name == "wizdroid-watch":
            found.append((kind, given))

    sys.addaudithook(note)  # there is no way to take one back
    yield
    listening = False
