"""The watcher: one thread that passes on every new event of every run and keeps the slot moving.

In: a slot. Out: a call for each event, in order for each run, from the thread named `wizdroid-watch`. When nothing
happens it costs one `stat` a poll. Events from before it began are not repeated: readers take a snapshot for those.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from .. import supervisor
from ..errors import BridgeError
from ..events import read_events_from
from ..run_folder import RunFolder
from .slot import Slot

POLL_S = 0.2
TEND_S = 1.0
log = logging.getLogger(__name__)

OnEvent = Callable[[RunFolder, dict[str, Any]], None]


class Watcher:
    """Started and stopped by its owner. `stop()` returns when the thread has ended."""

    def __init__(self, slot: Slot, on_event: OnEvent):
        self.slot = slot
        self.on_event = on_event
        self._offsets: dict[RunFolder, int] = {}
        self._active: set[RunFolder] = set()
        self._seen_change = (0, 0)
        self._tended = 0.0
        self._trouble = ""
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="wizdroid-watch", daemon=True)

    def start(self) -> None:
        self._seen_change = self._change()
        for run in self.slot.runs():
            self._offsets[run] = run.told_bytes
        self._find_active()
        self._thread.start()

    def stop(self) -> None:
        self._ending.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _watch(self) -> None:
        while not self._ending.wait(POLL_S):
            try:
                self.poll()
                self._trouble = ""
            except (BridgeError, OSError) as error:
                self._complain(
                    str(error)
                )  # a full disk or a run folder deleted by hand must not end the watch

    def _complain(self, trouble: str) -> None:
        """Log a trouble once, not at every look. To be called while it is handled."""
        if trouble != self._trouble:
            log.warning("Watching the runs failed and goes on: %s", trouble, exc_info=True)
        self._trouble = trouble

    def poll(self) -> None:
        """Look once: what is new is passed on, and once a second what has died is closed and the next run started."""
        changed = self._change()
        if changed != self._seen_change:
            self._seen_change = changed
            self._find_active()
            for run in self.slot.runs():
                self._pass_on(run)
        for run in self._active:
            self._pass_on(run)
        if self._active and time.monotonic() - self._tended > TEND_S:
            self._tended = time.monotonic()
            supervisor.reap()
            self.slot.advance()
            self._find_active()

    def _find_active(self) -> None:
        """Runs whose events may grow or whose end has to be noticed."""
        waiting = (order.run for order in self.slot.line())
        self._active = {*self.slot.open_attempts(), *waiting}

    def _pass_on(self, run: RunFolder) -> None:
        offset, size = self._offsets.get(run, 0), run.told_bytes
        if size == offset:
            return
        if size < offset:  # the folder was deleted and the same plan submitted again
            offset = 0
        for event, behind in read_events_from(run.events_file, offset):
            self._offsets[run] = behind
            self._call(run, event)

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
