"""The GPU slot: one training at a time in a workspace, and the line of those that wait for it.

In: orders (a run and the ready-made command that starts it) from any process: ComfyUI, a shell, a keeper whose trainer
has just ended. Out: at most one living trainer, the rest in order on disk (`queued.json` in each waiting run). Every
change happens under one lock between processes. It needs no engine: an order is complete when it is put in line.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from .. import supervisor
from ..engines.contract import Command
from ..errors import Conflict, StorageError
from ..events import last_event
from ..run_folder import CONTROLS, RunFolder
from ..runs.run_log import link_log
from ..workspace import Workspace, write_atomically
from .settling import settle

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Order:
    """A waiting run: who, what to start, its place in line (ascending), and the attempt's number."""

    run: RunFolder
    command: Command
    place: float
    attempt: int

    def to_json(self) -> dict[str, Any]:
        return {
            "place": self.place,
            "attempt": self.attempt,
            "argv": list(self.command.argv),
            "cwd": str(self.command.cwd),
            "environment": self.command.environment,
            "time": time.time(),
        }


class Slot:
    """The slot of one workspace. Methods that change something take the lock themselves; it can be taken again inside."""

    def __init__(self, workspace: Workspace, *, patience_s: float = PATIENCE_S):
        """`patience_s` is how long another process may hold the lock before Conflict is raised; -1 waits for ever."""
        self.workspace = workspace
        self._lock = FileLock(workspace.runs_dir / ".slot.lock", timeout=patience_s)
        self._closed: dict[RunFolder, int] = {}
        self.changed_file = workspace.runs_dir / ".changed"

    @classmethod
    def of_run(cls, run_dir: Path, *, patience_s: float) -> Slot:
        """The slot of the workspace in which a run folder lies."""
        return cls(Workspace.at(run_dir.parents[2]), patience_s=patience_s)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else, in this process or another, changes slot or line meanwhile."""
        try:
            self.workspace.runs_dir.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            raise Conflict(
                f"Another program has held the runs of this workspace for {self._lock.timeout:g} seconds.",
                "Try again; if that goes on, a process that hangs on the disk has to be ended.",
            ) from None
        except OSError as error:
            raise StorageError(
                f"The workspace can't be written: {error.strerror or error}.",
                f"Mend {self.workspace.runs_dir} or choose another workspace.",
            ) from error
        try:
            yield
        finally:
            self._lock.release()

    def runs(self) -> Iterator[RunFolder]:
        return (RunFolder(each) for each in self.workspace.run_dirs())

    def open_attempts(self) -> list[RunFolder]:
        """Runs whose newest attempt is not closed: its trainer lives, or died and nobody has settled it yet."""
        return [run for run in self.runs() if not self._is_closed(run)]

    def _is_closed(self, run: RunFolder) -> bool:
        """Whether no attempt of `run` is open. A `run.json` that was closed once is read again only when it changes."""
        try:
            stamp = run.identity_file.stat().st_mtime_ns
        except FileNotFoundError:
            return True
        if self._closed.get(run) != stamp:
            identity = run.identity()
            if identity is not None and identity.ended is None:
                return False
            self._closed[run] = stamp
        return True

    def line(self) -> list[Order]:
        """The waiting runs, next one first."""
        orders = [
            _read_order(RunFolder(file.parent)) for file in self.workspace.runs_dir.glob("*/*/queued.json")
        ]
        return sorted((each for each in orders if each), key=lambda order: (order.place, order.run.run_id))

    def enqueue(self, run: RunFolder, command: Command) -> None:
        """Put `run` at the end of the line and start it if the slot is free."""
        with self.locked():
            waiting = self.line()
            place = waiting[-1].place + 1.0 if waiting else 0.0
            order = Order(run, command, place, run.state().attempt + 1)
            _write_order(order)
            self.advance()
            self._tell_positions()
            self.touch()

    def leave(self, run: RunFolder) -> bool:
        """Take a waiting run out of the line. False if it does not wait."""
        with self.locked():
            if not run.queue_file.exists():
                return False
            run.queue_file.unlink()
            run.append("run_finished", **_never_began(run))
            self._tell_positions()
            self.touch()
            return True

    def move(self, run: RunFolder, position: int) -> None:
        """Put a waiting run at `position` (1 is next). Raises Conflict if it does not wait."""
        with self.locked():
            others = [each for each in self.line() if each.run != run]
            mine = _read_order(run)
            if mine is None:
                raise Conflict(
                    f"Run {run.run_id} is not waiting.",
                    "Only runs in the queue have a place; `status` lists them.",
                )
            others.insert(max(0, min(position - 1, len(others))), mine)
            for place, order in enumerate(others):
                _write_order(replace(order, place=float(place)))
            self._tell_positions()
            self.touch()

    def advance(self) -> RunFolder | None:
        """Close what has died, then start the next in line if the slot is free. Returns the run that was started.

        An order that can't be started fails with its reason and the one behind it gets its turn.
        """
        with self.locked():
            if self._is_taken():
                return None
            for order in self.line():
                if self._launch(order):
                    self._tell_positions()
                    return order.run
            return None

    def _is_taken(self) -> bool:
        """Whether a trainer lives or is being settled. One that nobody looks after gets a new keeper or is closed."""
        taken = False
        for run in self.open_attempts():
            if supervisor.keeper_lives(run):
                taken = True
            elif supervisor.trainer_lives(run):
                supervisor.adopt(run)
                taken = True
            else:
                self._close(run, exit_code=None)
        return taken

    def close_attempt(self, run_dir: Path, *, exit_code: int | None) -> None:
        """For the keeper: its trainer has ended with `exit_code`. Settle the run and start the next one."""
        with self.locked():
            self._close(RunFolder(run_dir), exit_code=exit_code)
            self.advance()

    def close_orphans(self) -> None:
        """Settle runs that neither live, nor wait, nor were ever closed, such as after a power cut."""
        with self.locked():
            self.advance()
            for run in self.runs():
                if self._is_closed(run) and not run.queue_file.exists() and not _has_verdict(run):
                    self._close(run, exit_code=None)

    def touch(self) -> None:
        """Let every watcher know that a run was started, moved or closed."""
        write_atomically(self.changed_file, f"{time.time_ns()} {os.getpid()}\n")

    def _launch(self, order: Order) -> bool:
        run = order.run
        for control in CONTROLS:
            run.withdraw(control)
        run.stopping_file.unlink(missing_ok=True)
        run.append("queued", position=0)
        os.replace(run.queue_file, run.launch_file)
        link_log(self.workspace, run)
        outcome = supervisor.start(run)
        self.touch()
        if not outcome:
            settle(run, exit_code=None, why_not_started=outcome.failure)
        return bool(outcome)

    def _close(self, run: RunFolder, *, exit_code: int | None) -> None:
        settle(run, exit_code=exit_code)
        supervisor.close_identity(run, ended=time.time(), exit_code=exit_code)
        self.touch()

    def _tell_positions(self) -> None:
        for position, order in enumerate(self.line(), start=1):
            if order.run.state().queue_position != position:
                order.run.append("queued", position=position)


def _has_verdict(run: RunFolder) -> bool:
    """Whether the newest attempt is told to be over. Nearly always the last line says so; else the whole story is read."""
    last = last_event(run.events_file)
    if last is not None and last["kind"] == "run_finished":
        return True
    return run.state().is_finished


def _never_began(run: RunFolder) -> dict[str, Any]:
    state = run.state()
    return {
        "outcome": "stopped",
        "step": state.step,
        "problem": "Taken out of the queue before it began.",
        "fix": "Resume puts it back in line.",
        "evidence": "",
        "code": "unqueued",
    }


def _write_order(order: Order) -> None:
    write_atomically(order.run.queue_file, json.dumps(order.to_json(), indent=1))


def _read_order(run: RunFolder) -> Order | None:
    try:
        data = json.loads(run.queue_file.read_text("utf-8"))
    except FileNotFoundError:
        return None
    command = Command(tuple(data["argv"]), Path(data["cwd"]), data["environment"])
    return Order(run, command, data["place"], data["attempt"])
