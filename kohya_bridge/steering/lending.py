"""Lending the GPU: a run that trains makes room for a prompt of ComfyUI and goes on afterwards.

In: the slot of a workspace, and whoever knows that a prompt wants the GPU. Out: the request `control/lend` in the run that
trains, renewed while it is needed and withdrawn afterwards. It decides nothing that the trainer must rely on: a lender that
dies, forgets or never ends its loan is out-waited by the trainer itself (`engines/holding.py`). It knows no ComfyUI.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from .. import json_text, supervisor
from ..engines.holding import MOST_LENT_S
from ..run_folder import RunFolder
from ..run_state import RunState
from .slot import Slot

RENEW_S = 2.0
BETWEEN_STEPS = ("training", "validating", "saving")
"""What a trainer does that comes to a step boundary by itself, sooner or later."""


class Lender:
    """Lends the GPU of whichever run trains in a workspace. Safe to use from several threads."""

    def __init__(self, slot: Slot, *, most_s: float = MOST_LENT_S):
        """`most_s` is how long one loan may last, in seconds; the trainer sees to it."""
        self.slot, self.most_s = slot, most_s
        self._lock = threading.Lock()
        self._name = ""
        self._lent: dict[RunFolder, float] = {}
        self._waiting = 0
        self._open: tuple[object, list[RunFolder]] = (None, [])

    @contextmanager
    def nobody_borrows(self) -> Iterator[None]:
        """Within the block nothing is lent: whoever would borrow waits for a run, and that run needs its GPU."""
        with self._lock:
            self._waiting += 1
        self.take_back()
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= 1

    @property
    def lends(self) -> bool:
        """Whether a loan is asked for."""
        return bool(self._lent)

    def lend(self) -> None:
        """Ask the run that trains, if one does and may, to hand its GPU over; call it again every few seconds to renew."""
        with self._lock:
            if self._waiting:
                return
            if not self._lent:
                self._name = uuid.uuid4().hex
            now = time.monotonic()
            for run in self._training():
                if now - self._lent.get(run, -RENEW_S) >= RENEW_S and lends_gpu(run):
                    run.ask("lend", name=self._name, most_s=self.most_s)
                    self._lent[run] = now

    def take_back(self) -> None:
        """End the loan: the run goes on at once."""
        with self._lock:
            lent, self._lent = self._lent, {}
        for run in lent:
            run.withdraw("lend")

    def was_taken(self) -> bool:
        """Whether a trainer has made room because of this loan."""
        return any(self._state(run).status == "lent" for run in list(self._lent))

    def is_free(self) -> bool:
        """Whether no trainer that was asked is still busy with a step: it holds still, has ended, or can't answer yet."""
        return not any(self._state(run).status in BETWEEN_STEPS for run in list(self._lent))

    def _training(self) -> list[RunFolder]:
        """Runs with a living trainer. Looked for anew only when the slot says that something changed."""
        try:
            stat = self.slot.changed_file.stat()
            stamp: object = (stat.st_mtime_ns, stat.st_ino)
        except OSError:
            stamp = "never"
        if stamp != self._open[0]:
            self._open = (stamp, self.slot.open_attempts())
        return [run for run in self._open[1] if run.exists and supervisor.trainer_lives(run)]

    def _state(self, run: RunFolder) -> RunState:
        return self.slot.readers.state(run.events_file)


def lends_gpu(run: RunFolder) -> bool:
    """Whether the run makes room for prompts; it does unless somebody said otherwise."""
    try:
        return bool(run.files.read_json(run.lending_file)["lend"])
    except (OSError, ValueError, KeyError, TypeError):
        return True


def let_lend(run: RunFolder, lend: bool) -> None:
    """Say whether the run makes room for prompts. No part of its plan: it changes when it trains, not what."""
    if lend != lends_gpu(run):
        run.files.write(run.lending_file, json_text.write({"lend": lend}))
    if not lend:
        run.withdraw("lend")
