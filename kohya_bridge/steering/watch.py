"""The watcher: one thread that passes on every new event of every run, and one that keeps the slot moving.

In: a slot. Out: a call for each event, in order for each run, from the thread named `wizdroid-watch`. When nothing
happens it costs one `stat` a poll. Events from before it began are not repeated: readers take a snapshot for those. The other,
`wizdroid-tend`, may wait for the lock or for a command that is made; no event waits for it. Neither ends by what lies in a folder.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from .. import supervisor
from ..breathing import work_beside_a_loop
from ..errors import BridgeError
from ..event_reader import EventReader
from ..run_folder import RunFolder
from .slot import Slot

POLL_S = 0.2
TEND_S = 1.0
RETRY_S = 5.0
LOCK_S = 2.0
"""How long tending waits for the lock; what could not be done is tried again at the next look."""
log = logging.getLogger(__name__)

OnEvent = Callable[[RunFolder, dict[str, Any]], None]


class Watcher:
    """Started and stopped by its owner. `stop()` returns when the thread that calls has ended."""

    def __init__(self, slot: Slot, on_event: OnEvent):
        self.slot = slot
        self.on_event = on_event
        self._readers: dict[RunFolder, EventReader] = {}
        self._told_before: dict[RunFolder, int] = {}
        self._active: frozenset[RunFolder] = frozenset()
        self._seen_change = (0, 0)
        self._told: dict[str, str] = {}
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=work, name=f"wizdroid-{name}", daemon=True)
            for name, work in (("watch", self._watch), ("tend", self._tend))
        ]

    def start(self) -> None:
        """Begin with what is there now, and settle what the last process left."""
        self._seen_change = self._change()
        for run in self.slot.runs():
            self._told_before[run] = run.told_bytes
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """No event is passed on afterwards. Tending may be in the middle of a start, which it finishes by itself."""
        self._ending.set()
        for thread, patience_s in zip(self._threads, (None, LOCK_S), strict=True):
            if thread is not threading.current_thread():
                thread.join(patience_s)

    # --- events ------------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        work_beside_a_loop()
        self._attempt("watch", self._find_active)
        while not self._ending.wait(POLL_S):
            self._attempt("watch", self.poll)

    def poll(self) -> None:
        """Look once and pass on what is new."""
        changed = self._change()
        if changed != self._seen_change:
            self._seen_change = changed
            self._find_active()
            for run in self.slot.runs():
                self._pass_on(run)
        for run in self._active:
            self._pass_on(run)

    def _find_active(self) -> None:
        """Runs whose events may grow or whose end has to be noticed."""
        waiting = (order.run for order in self.slot.line())
        self._active = frozenset([*self.slot.open_attempts(), *waiting])

    def _pass_on(self, run: RunFolder) -> None:
        reader = self._readers.get(run)
        if run.told_bytes == (reader.offset if reader else self._told_before.get(run, 0)):
            return
        with self.slot.aside.sparing(run, "events"):
            for event in self._reader(run).fresh():
                self._call(run, event)

    def _reader(self, run: RunFolder) -> EventReader:
        """Of a run that told something before the watch began, one that is past that."""
        reader = self._readers.get(run)
        if reader is None:
            reader = EventReader(run.events_file)
            before = self._told_before.get(run, 0)
            reader.pass_over(before if before <= run.told_bytes else 0)
            self._readers[run] = reader
        return reader

    def _call(self, run: RunFolder, event: dict[str, Any]) -> None:
        try:
            self.on_event(run, event)
        except Exception:  # an outermost edge: a listener's fault must not cost the others their events
            log.exception("a listener failed on event %s of run %s", event.get("kind"), run.run_id)

    def _change(self) -> tuple[int, int]:
        try:
            stat = self.slot.changed_file.stat()
        except OSError:
            return 0, 0
        return (
            stat.st_mtime_ns,
            stat.st_ino,
        )  # it is replaced each time, so two changes in one clock tick differ too

    # --- tending -----------------------------------------------------------------------------------------------------

    def _tend(self) -> None:
        """Close once what was left behind, as soon as the lock can be had; then what dies while we live."""
        work_beside_a_loop()
        while not self._attempt("tend", lambda: self.slot.close_orphans(patience_s=LOCK_S)):
            if self._ending.wait(RETRY_S):
                return
        while not self._ending.wait(TEND_S):
            if self._active:
                self._attempt("tend", self._advance)

    def _advance(self) -> None:
        supervisor.reap()
        self.slot.advance(patience_s=LOCK_S)
        self._find_active()

    def _attempt(self, doing: str, work: Callable[[], object]) -> bool:
        """Whether `work` went well. What it raises is told once, not at every look, and ends nothing: a full disk, a lock that
        somebody holds, a folder that was deleted by hand."""
        try:
            work()
        except Exception as error:  # the outermost edge of a thread that has to live as long as its process
            trouble = f"{type(error).__name__}: {error}"
            if trouble not in list(self._told.values()):
                log.warning(
                    "Looking after the runs goes on, but: %s",
                    error,
                    exc_info=not isinstance(error, BridgeError),
                )
            self._told[doing] = trouble
            return False
        self._told.pop(doing, None)
        return True
