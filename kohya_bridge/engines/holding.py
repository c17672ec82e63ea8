"""Holding still between two steps: because a person paused the run, or because its GPU is lent to somebody else.

In: `control/pause` and `control/lend`. Out: a trainer that waits with its weights off the GPU, and events that tell which of
the two it is. A pause lasts until it is withdrawn. A loan can't last for ever: it ends when it is withdrawn, when its lender
no longer renews it, or after the time that the lender asked for, whatever became of the lender. Standard library only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..files import Tree

LEASE_S = 30.0
"""A lender that has not renewed its loan for so long is gone. It renews every few seconds; ComfyUI may be stuck in a large file."""
MOST_LENT_S = 900.0
"""The trainer takes its GPU back after so long, unless the loan says otherwise."""
RESTORE_PATIENCE_S = 60.0
"""How long the trainer tries to find room for its weights again: the borrower may need a moment to leave."""

ENDINGS = {"pause": "resume", "lend": "take_back"}
"""What the `control` event is called that ends each reason to hold."""

WITHDRAWN, LENDER_GONE, OVERDUE, STOPPED = "withdrawn", "lender_gone", "overdue", "stopped"


class Loan:
    """The trainer's view of `control/lend`. It trusts no clock but its own, and no lender to come back."""

    def __init__(self, file: Path, *, clock: Callable[[], float] = time.monotonic):
        self.file, self._clock = Path(file), clock
        self.ending = WITHDRAWN
        """Why the newest loan ended."""
        self.most_s = MOST_LENT_S
        self._name: Any = None
        self._stamp = 0
        self._began = self._renewed = 0.0

    def stands(self) -> bool:
        """Whether the GPU is lent now."""
        try:
            stamp = os.lstat(self.file).st_mtime_ns
        except FileNotFoundError:
            self._name, self._stamp, self.ending = None, 0, WITHDRAWN
            return False
        now = self._clock()
        if stamp != self._stamp:
            self._take_note(now)
            self._stamp = stamp
        if now - self._began > self.most_s:
            self.ending = OVERDUE
        elif now - self._renewed > LEASE_S:
            self.ending = LENDER_GONE
        else:
            return True
        return False

    def _take_note(self, now: float) -> None:
        """The file is new or was renewed. Another name in it is another loan, with its own time."""
        self._renewed = now
        try:
            told = Tree(self.file.parents[1]).read_json(self.file)
        except (OSError, ValueError):
            told = {}  # somebody touched the file by hand: a loan with the usual limits
        told = told if isinstance(told, dict) else {}
        name = told.get("name", "")
        if self._stamp == 0 or name != self._name:
            most_s = told.get("most_s")
            self.most_s = float(most_s) if isinstance(most_s, (int, float)) and most_s > 0 else MOST_LENT_S
            self._name, self._began = name, now


def hold_still(
    controls: Any,
    report: Any,
    *,
    release: Callable[[], None] | None = None,
    restore: Callable[[], None] | None = None,
    poll_s: float = 0.1,
) -> set[str]:
    """Wait here while the run is paused or its GPU is lent, and no stop is wanted. Returns the requests afterwards.

    `controls` and `report` are a child's. `release` moves weights off the GPU before the hold is acknowledged, `restore` brings them back before its end is told.
    A person's pause goes before a loan: while both stand the run is paused.
    """
    wanted: set[str] = controls.wanted()
    reason = reason_to_hold(wanted)
    if reason is None:
        return wanted
    if release:
        release()
    told = None
    while reason is not None:
        if reason != told:
            report.log.write("control", action=reason, stage="acknowledged", step=report.step)
            told = reason
        time.sleep(poll_s)
        wanted = controls.wanted()
        reason = reason_to_hold(wanted)
    if restore:
        _bring_back(restore)
    why = {"reason": STOPPED if "stop" in wanted else controls.loan.ending} if told == "lend" else {}
    report.log.write("control", action=ENDINGS[str(told)], stage="acknowledged", step=report.step, **why)
    if why.get("reason") == OVERDUE:
        report.notice(
            f"The GPU was lent for {controls.loan.most_s / 60:.0f} min; training goes on beside whatever still uses it.",
            "If memory runs short, end that prompt, or pause the run.",
            code="loan_overdue",
        )
    return wanted


def reason_to_hold(wanted: set[str]) -> str | None:
    """`pause` or `lend`, whichever of the requests holds a trainer now; None when none does."""
    if "stop" in wanted:
        return None
    return "pause" if "pause" in wanted else "lend" if "lend" in wanted else None


def _bring_back(restore: Callable[[], None]) -> None:
    """`restore`, again and again while there is no room: whoever had the GPU has maybe not quite left it.

    Raises:
        RuntimeError: torch's own, when there was no room for a minute.
    """
    deadline = time.monotonic() + RESTORE_PATIENCE_S
    while True:
        try:
            return restore()
        except RuntimeError as error:  # torch.OutOfMemoryError is one; this file knows no torch
            if "out of memory" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.5)
