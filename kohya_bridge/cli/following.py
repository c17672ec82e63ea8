"""Following a run on a terminal: a progress display for a person, plain lines for a log, events for a program.

In: a desk and a run. Out: the final state, or `Detached` when the person leaves before the end. Leaving never harms a run:
it lives in a session of its own, which no Ctrl-C of ours reaches.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ..console import shown
from ..desk import Desk
from ..event_reader import EventReader
from ..run_folder import RunFolder
from ..run_state import RunState
from .output import Output

LINE_EVERY_S = 10.0


class Detached(Exception):
    """The person left; the run goes on."""


class Display(Protocol):
    """Shows the states of a run as they come."""

    def show(self, state: RunState) -> None: ...
    def close(self) -> None: ...


def follow(desk: Desk, run: RunFolder, out: Output, *, interrupt_stops: bool) -> RunState:
    """Show a run until it ends. With `interrupt_stops` the first Ctrl-C asks it to stop and save and the second leaves;
    otherwise the first one leaves. Raises Detached."""
    display = _display(run, out)
    asked = False
    with _counting_interrupts() as interrupts:

        def should_stop() -> bool:
            nonlocal asked
            if interrupts() > (1 if interrupt_stops else 0):
                raise Detached
            if interrupts() and not asked:
                asked = True
                out.say("Asked the run to stop after this step and save. Ctrl-C again leaves it to that.")
            return asked

        try:
            return desk.wait(run.run_id, on_state=display.show, should_stop=should_stop)
        finally:
            display.close()


@contextmanager
def _counting_interrupts() -> Iterator[Callable[[], int]]:
    """Count Ctrl-C instead of breaking off wherever the program is: a start that is half done must not be torn."""
    count = 0

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal count
        count += 1

    former = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield lambda: count
    finally:
        signal.signal(signal.SIGINT, former)


def _display(run: RunFolder, out: Output) -> Display:
    if out.as_json:
        return EventLines(run, out)
    return Bar(out) if out.person else Lines(out)


class EventLines:
    """Every event as it stands in `events.jsonl`."""

    def __init__(self, run: RunFolder, out: Output):
        self.out, self.reader = out, EventReader(run.events_file)

    def show(self, state: RunState) -> None:
        for event in self.reader.fresh():
            self.out.emit(event)

    def close(self) -> None:
        pass


class Lines:
    """A line when something happens, and every ten seconds while it trains."""

    def __init__(self, out: Output):
        self.out = out
        self._phase = ""
        self._last = 0.0
        self._told = RunState()

    def show(self, state: RunState) -> None:
        for line in _news(self._told, state):
            self.out.say(line)
        due = time.monotonic() - self._last > LINE_EVERY_S
        if state.status != self._told.status or (state.step != self._told.step and due):
            self.out.say(describe(state))
            self._last = time.monotonic()
        self._told = state

    def close(self) -> None:
        pass


class Bar:
    """One bar that moves, with the news above it."""

    def __init__(self, out: Output):
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self.progress = Progress(
            *columns, TextColumn("{task.fields[more]}", markup=False), console=out.console
        )
        self.task: TaskID = self.progress.add_task("queued", total=None, more="")
        self.progress.start()
        self._told = RunState()

    def show(self, state: RunState) -> None:
        for line in _news(self._told, state):
            self.progress.console.print(shown(line), markup=False)
        is_training = state.phase in ("", "training") or state.phase_total is None
        done, total = (state.step, state.total) if is_training else (state.phase_done, state.phase_total)
        self.progress.update(
            self.task,
            description=state.status,
            completed=done or 0,
            total=total or None,
            more=_numbers(state),
        )
        self._told = state

    def close(self) -> None:
        self.progress.stop()


def describe(state: RunState) -> str:
    """A state in one line."""
    if state.status == "queued":
        place = state.queue_position
        return f"waiting, number {place} in line" if place else "starting"
    where = f" {state.phase_done} of {state.phase_total}" if state.phase_total else ""
    if state.is_finished:
        return f"{state.status} at step {state.step} of {state.total}{_held_out(state)}"
    if state.status in ("training", "paused", "lent"):
        numbers = _numbers(state)
        return f"{state.status}: step {state.step} of {state.total}" + (f", {numbers}" if numbers else "")
    return f"{state.status}{where}"


def _held_out(state: RunState) -> str:
    """What a run that is over is judged by: the measurement of its best checkpoint, else the last one."""
    rows = {row.get("step"): row.get("loss") for row in state.validations}
    step = (state.best or {}).get("step")
    step = step if step in rows else next(reversed(rows), None)
    value = rows.get(step)
    return f", held-out loss {value:.4f} at step {step}" if isinstance(value, (int, float)) else ""


def _numbers(state: RunState) -> str:
    parts = []
    if isinstance(state.loss_ema, (int, float)):
        parts.append(f"loss {state.loss_ema:.4f}")
    if state.seconds_per_step is not None:
        parts.append(f"{state.seconds_per_step:.2f} s a step")
    if state.eta_s is not None:
        parts.append(f"{duration(state.eta_s)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Such as `45 s`, `12 min` or `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _news(before: RunState, now: RunState) -> Iterator[str]:
    for row in now.checkpoints[len(before.checkpoints) :]:
        yield f"  saved {row['file']}"
    for row in now.validations[len(before.validations) :]:
        if isinstance(row.get("loss"), (int, float)):
            yield f"  held-out loss {row['loss']:.4f} at step {row['step']}"
    for row in now.notices[len(before.notices) :]:
        yield f"  {row['level']}: {row['problem']} {row['fix']}".rstrip()
