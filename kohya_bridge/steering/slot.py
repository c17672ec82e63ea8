"""The GPU slot: one training at a time in a workspace, and the line of those that wait for it.

In: runs to be put in line, from any process: ComfyUI, a shell, a keeper whose trainer has just ended. Out: at most one living
trainer, the rest in order on disk (`orders.py`). Every change happens under one lock between processes. An engine is needed
only at the moment when a run is started; it then makes the command.
"""

from __future__ import annotations

import copy
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from .. import processes, supervisor
from ..engines.registry import from_words, in_words, load_engines
from ..errors import BridgeError, Busy, Conflict, StorageError, UnusableFile
from ..event_reader import last_event
from ..files import Tree
from ..reasons import reason_of
from ..run_folder import CONTROLS, RunFolder
from ..runs.run_log import link_log
from ..state_reader import StateReaders
from ..supervisor import StartOutcome
from ..workspace import Workspace
from .aside import Aside
from .former_orders import take_over
from .orders import Order, Orders
from .settling import settle

if TYPE_CHECKING:
    from ..engines.contract import Engine
    from ..models.places import Places

log = logging.getLogger(__name__)

PATIENCE_S = 60.0
_HALF_ASKED = re.compile(rf"\.(?:{'|'.join(CONTROLS)})\.[0-9a-f]+\.tmp")


class Slot:
    """The slot of one workspace. Methods that change something take the lock themselves; it can be taken again inside."""

    def __init__(
        self,
        workspace: Workspace,
        *,
        patience_s: float = PATIENCE_S,
        engines: Mapping[str, Engine] | None = None,
        places: Places | None = None,
    ):
        """`patience_s` is how long another process may hold the lock before Conflict is raised; -1 waits for ever. `engines`
        replaces the registry's, also for the keepers that are started here. `places` are this machine's model folders."""
        self.workspace = workspace
        self.orders = Orders(workspace)
        self._lock = FileLock(workspace.runs_dir / ".slot.lock", timeout=patience_s)
        self.aside = Aside()
        self.readers = StateReaders()
        """What the runs that were looked at last have told."""
        self._engines, self._places = engines, places
        self._closed: dict[RunFolder, int] = {}
        self.changed_file = workspace.runs_dir / ".changed"

    @classmethod
    def of_run(cls, run_dir: Path, *, patience_s: float, engines: Mapping[str, str] | None = None) -> Slot:
        """The slot of the workspace in which a run folder lies; `engines` in words, as a keeper was told of them."""
        return cls(
            Workspace.at(run_dir.parents[2]),
            patience_s=patience_s,
            engines=from_words(engines) if engines else None,
        )

    def within(self, patience_s: float) -> Slot:
        """This slot for somebody who waits for the lock no longer than that."""
        hurried = copy.copy(self)
        hurried._lock = FileLock(self._lock.lock_file, timeout=patience_s)
        return hurried

    @contextmanager
    def locked(self, *, patience_s: float | None = None) -> Iterator[None]:
        """Nobody else, in this process or another, changes slot or line meanwhile. `patience_s` replaces the slot's own."""
        try:
            Tree(self.workspace.runs_dir).free(".slot.lock")
            self._lock.acquire(timeout=patience_s)
        except Timeout:
            raise Busy(
                f"{_holder(self._lock.lock_file)} has held the runs of this workspace for {self._patience(patience_s):g} seconds.",
                "Try again in a moment; if that goes on, a process that hangs on the disk has to be ended.",
            ) from None
        except UnusableFile as error:
            raise StorageError(f"The workspace can't be written: {error.problem}", error.fix) from error
        except OSError as error:
            raise StorageError(
                f"The workspace can't be written: {reason_of(error)}.",
                f"Make {self.workspace.runs_dir} writable for you, or choose another workspace.",
            ) from error
        try:
            if not self.orders.problem:  # a line that can't be kept hinders nobody who does not wait in it
                take_over(self.orders, folders=self._folders)
            yield
        finally:
            self._lock.release()

    def _patience(self, given: float | None) -> float:
        return self._lock.timeout if given is None else given

    def runs(self) -> Iterator[RunFolder]:
        return (RunFolder(each) for each in self.workspace.run_dirs())

    def open_attempts(self) -> list[RunFolder]:
        """Runs whose newest attempt is not closed: its trainer lives, or died and nobody has settled it yet."""
        found = []
        for run in self.runs():
            with self.aside.sparing(run, "look"):
                if not self._is_closed(run):
                    found.append(run)
        return found

    def _is_closed(self, run: RunFolder) -> bool:
        """Whether no attempt of `run` is open. A `run.json` that was closed once is read again only when it changes."""
        try:
            stamp = run.identity_file.lstat().st_mtime_ns
        except FileNotFoundError:
            return True
        if self._closed.get(run) != stamp:
            identity = supervisor.identity_of(run)
            if identity is not None and identity.ended is None:
                return False
            self._closed[run] = stamp
        return True

    def line(self) -> list[Order]:
        """The waiting runs, next one first."""
        return self.orders.line()

    def waits(self, run: RunFolder) -> bool:
        """Whether `run` is in line."""
        return self.orders.of(run) is not None

    def enqueue(self, run: RunFolder, engine: str) -> None:
        """Put `run` at the end of the line and start it if the slot is free."""
        with self.locked():
            waiting = self.line()
            place = waiting[-1].place + 1.0 if waiting else 0.0
            self.orders.put(Order(run, engine, place, run.next_attempt(), self._folders))
            self.advance()
            self._tell_positions()
            self.touch()

    def leave(self, run: RunFolder) -> bool:
        """Take a waiting run out of the line. False if it does not wait."""
        with self.locked():
            if not self.waits(run):
                return False
            self.orders.drop(run)
            run.append("run_finished", **_never_began(run))
            self._tell_positions()
            self.touch()
            return True

    def move(self, run: RunFolder, position: int) -> None:
        """Put a waiting run at `position` (1 is next). Raises Conflict if it does not wait."""
        with self.locked():
            if not self.orders.move(run, position):
                raise Conflict(
                    f"Run {run.run_id} is not waiting.",
                    "Only runs in the queue have a place; `status` lists them.",
                )
            self._tell_positions()
            self.touch()

    def advance(self, *, patience_s: float | None = None) -> RunFolder | None:
        """Close what has died, then start the next in line if the slot is free. Returns the run that was started.

        An order that can't be started fails with its reason and the one behind it gets its turn.
        """
        with self.locked(patience_s=patience_s):
            if self._is_taken():
                return None
            for order in self.line():
                if self._launch_or_drop(order):
                    self._tell_positions()
                    return order.run
            return None

    def _is_taken(self) -> bool:
        """Whether a trainer lives or is being settled. One that nobody looks after gets a new keeper or is closed."""
        taken = False
        for run in self.open_attempts():
            with self.aside.sparing(run, "close"):
                if supervisor.keeper_lives(run):
                    taken = True
                elif supervisor.trainer_lives(run):
                    taken = True
                    supervisor.adopt(run, engines=self._engines_in_words)
                else:
                    self._close(run, exit_code=None)
        return taken

    def close_attempt(self, run_dir: Path, *, exit_code: int | None) -> None:
        """For the keeper: its trainer has ended with `exit_code`. Settle the run and start the next one."""
        run = RunFolder(run_dir)
        with self.locked():
            with self.aside.sparing(run, "close"):
                self._close(run, exit_code=exit_code)
            self.advance()

    def close_orphans(self, *, patience_s: float | None = None) -> None:
        """Settle runs that neither live, nor wait, nor were ever closed, such as after a power cut."""
        if problem := self.orders.problem:
            log.warning("%s", problem)
        with self.locked(patience_s=patience_s):
            self.advance()
            for run in self.runs():
                with self.aside.sparing(run, "settle"):
                    if self._is_closed(run) and not self.orders.has(run) and not _has_verdict(run):
                        self._close_orphan(run)

    def _close_orphan(self, run: RunFolder) -> None:
        last = last_event(run.events_file)
        if last is None or last["kind"] == "queued":
            run.append(
                "run_finished", **_never_began(run, "It does not wait here: no order for it is in line.")
            )
            self.touch()
        else:
            self._close(run, exit_code=None)

    def touch(self) -> None:
        """Let every watcher know that a run was started, moved or closed."""
        Tree(self.workspace.runs_dir).write(self.changed_file, f"{time.time_ns()} {os.getpid()}\n")

    def _launch_or_drop(self, order: Order) -> bool:
        """Start a waiting run. One that can't even be told why it does not start leaves the line and is set aside."""
        started = False
        with self.aside.sparing(order.run, "start"):
            started = self._launch(order)
        if not started and self.waits(order.run):
            self.orders.drop(order.run)
        return started

    def _launch(self, order: Order) -> bool:
        """Start a waiting run. Its order is dropped last: whoever is killed before leaves it in line."""
        run = order.run
        if _was_started(order):
            self.orders.drop(run)
            return False
        supervisor.end_strays(run)
        if not run.files.is_folder(run.control_dir):
            run.files.clear(run.control_dir)
        for control in run.files.entries(run.control_dir):
            if control.name in CONTROLS or _HALF_ASKED.fullmatch(
                control.name
            ):  # what the attempt before was asked
                run.files.clear(control)
        run.files.clear(run.stopping_file)
        run.append("queued", position=0)
        with self.aside.sparing(run, "log"):
            link_log(self.workspace, run)
        outcome = self._started(order)
        self.orders.drop(run)
        self.touch()
        if not outcome:
            settle(run, exit_code=None, not_started=outcome)
        return bool(outcome)

    def _started(self, order: Order) -> StartOutcome:
        # Only where something is started: it brings lint along.
        from .starting import make_command, usual_places

        engines = load_engines() if self._engines is None else self._engines
        places = (self._places or usual_places(self.workspace)).with_folders(order.folders)
        try:
            command = make_command(order.run, engines, places)
        except BridgeError as error:
            return StartOutcome(error.problem, error.fix)
        return supervisor.start(order.run, command, attempt=order.attempt, engines=self._engines_in_words)

    @property
    def _folders(self) -> dict[str, Any]:
        return self._places.folders if self._places else {}

    @property
    def _engines_in_words(self) -> dict[str, str]:
        return {} if self._engines is None else in_words(self._engines)

    def _close(self, run: RunFolder, *, exit_code: int | None) -> None:
        supervisor.end_strays(run)
        try:
            settle(run, exit_code=exit_code)
        finally:
            supervisor.close_identity(run, ended=time.time(), exit_code=exit_code)
            self.touch()

    def _tell_positions(self) -> None:
        for position, order in enumerate(self.line(), start=1):
            with self.aside.sparing(order.run, "place"):
                if order.run.state().queue_position != position:
                    order.run.append("queued", position=position)


def _holder(lock_file: str) -> str:
    """Who holds the lock, as far as this system tells."""
    pid = processes.lock_holder(Path(lock_file))
    if pid is None:
        return "Another program"
    return "Another request" if pid == os.getpid() else f"Another program (process {pid})"


def _has_verdict(run: RunFolder) -> bool:
    """Whether the newest attempt is told to be over. Nearly always the last line says so; else the whole story is read."""
    last = last_event(run.events_file)
    if last is not None and last["kind"] == "run_finished":
        return True
    return run.state().is_finished


def _never_began(run: RunFolder, problem: str = "Taken out of the queue before it began.") -> dict[str, Any]:
    state = run.state()
    return {
        "outcome": "stopped",
        "step": state.step,
        "problem": problem,
        "fix": "Resume puts it back in line.",
        "evidence": "",
        "code": "unqueued",
    }


def _was_started(order: Order) -> bool:
    """Whether the attempt of an order was begun already, by a process that was killed before it dropped the order."""
    identity = supervisor.identity_of(order.run)
    return identity is not None and identity.attempt >= order.attempt
