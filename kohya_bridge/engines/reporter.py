"""The reporter: what an attempt at a run tells of itself, as events.

In: steps, files and phases, from whichever engine trains. Out: event lines, with the numbers that go into them (average,
speed, remaining time). An event follows the file that it tells of, so that whatever is told is there; the first event of
an attempt is followed by those that the attempt before owed when it was killed. Standard library only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ..errors import StorageError
from ..events import EventLog
from ..files import Tree
from ..run_state import RunState, fold
from ..smoothing import Smoothed
from ..state_folders import states_of
from ..state_reader import read_state
from . import saved
from .losses import write_losses
from .trackers import Trackers
from .train_log import log_traceback


class Reporter:
    """Writes the events of one attempt."""

    def __init__(self, run_dir: Path, *, keep_states: int, clock: Callable[[], float] = time.time):
        """`keep_states` is how many resume states stay; older ones are deleted."""
        self.run_dir = Path(run_dir)
        self.files = Tree(self.run_dir)
        self.keep_states = keep_states
        trackers = Trackers(self.run_dir, complain=self.notice)
        self.log = EventLog(self.run_dir / "events.jsonl", clock=clock, listener=trackers.take)
        self.clock = clock
        self.step = 0
        self.total = 0
        self.final: tuple[Path, int] | None = None
        """The final LoRA and its step, once it is saved."""
        self._states: set[str] = set()
        """Folders of states that the events tell of."""
        self._smoothed = Smoothed()
        self._last_step_time: float | None = None
        self._seconds: float | None = None

    def told(self) -> RunState:
        """What the events of all attempts tell so far."""
        return read_state(self.run_dir / "events.jsonl")

    def started(self, *, engine: str, total: int, resumed_from: int = 0, **more: Any) -> None:
        """Begin an attempt; its number follows the attempts that the event file tells of.

        Then put in order what the attempt before left: remove what it had begun to write, tell of what it had finished.
        """
        before = self.told()
        self.step, self.total = resumed_from, total
        started = self.log.write(
            "run_started",
            sync=True,
            attempt=before.attempt + 1,
            engine=engine,
            pid=os.getpid(),
            total=total,
            resumed_from=resumed_from,
            **more,
        )
        begun = fold([started], before)
        self._smoothed = Smoothed(begun.loss_ema, begun.loss_count)
        saved.remove_unfinished(self.files)
        for step, digest, file in saved.untold_checkpoints(self.files, before.checkpoints):
            self._tell_checkpoint(step, digest, file, final=False)
        self._tell_states(before)

    def phase(self, name: str, *, done: int | None = None, total: int | None = None) -> None:
        if name != "training":
            self.out_of_step()
        counted: dict[str, Any] = {} if done is None else {"done": done, "total": total}
        self.log.write("phase", name=name, **counted)

    def out_of_step(self) -> None:
        """What happens until the next step is no part of that step's time."""
        self._last_step_time = None

    def progress(
        self, step: int, *, loss: float, epoch: int, lr: dict[str, float], vram_gib: float | None = None
    ) -> None:
        """One optimizer step is done. `loss` is its mean over micro-batches."""
        now = self.clock()
        self._smoothed = self._smoothed.after(loss)
        if self._last_step_time is not None and step > self.step:
            took = (now - self._last_step_time) / (step - self.step)
            self._seconds = took if self._seconds is None else 0.9 * self._seconds + 0.1 * took
        self.step, self._last_step_time = step, now
        eta = None if self._seconds is None else round(self._seconds * (self.total - step), 1)
        self.log.write(
            "progress",
            step=step,
            total=self.total,
            epoch=epoch,
            loss=loss,
            loss_ema=self._smoothed.average,
            lr=lr,
            seconds_per_step=None if self._seconds is None else round(self._seconds, 4),
            eta_s=eta,
            vram_gib=vram_gib,
        )

    def checkpoint(self, written: Path, step: int, *, name: str, final: bool = False) -> Path:
        """Take over a complete LoRA file: rename it to `<name>-step<8 digits>-<hash8>.safetensors` and tell of it."""
        target, digest = saved.place_checkpoint(self.files, written, name=name, step=step)
        self._tell_checkpoint(step, digest, target, final=final)
        saved.remove_namesakes(self.files, target)
        if final:
            self.final = target, step
        return target

    def _tell_checkpoint(self, step: int, digest: str, file: Path, *, final: bool) -> None:
        self.log.write(
            "checkpoint",
            sync=True,
            step=step,
            file=file.relative_to(self.run_dir).as_posix(),
            sha256=digest,
            bytes=file.stat().st_size,
            final=final,
        )

    def state_folder(self, step: int) -> AbstractContextManager[Path]:
        """A folder to fill with a resume state; it gets its real name only when the block ends without an error."""
        return saved.state_folder(self.files, step)

    def state(self, step: int) -> None:
        """Tell that `states/step<8 digits>` is complete, and delete all but the newest by true step.

        The event goes first: cut short between the two, the next attempt deletes what is told to be gone.
        """
        self._states.add(f"states/step{step:08d}")
        known = [each for each in states_of(self.files, self._states) if each.name <= f"step{step:08d}"]
        surplus = known[: -self.keep_states]
        self._tell_state(step, removed=[f"states/{each.name}" for each in surplus])
        for each in surplus:
            saved.remove_state(self.files, each)

    def _tell_state(self, step: int, *, removed: list[str]) -> None:
        self.log.write("state", sync=True, step=step, dir=f"states/step{step:08d}", removed=removed)

    def _tell_states(self, before: RunState) -> None:
        """Tell of a state whose event is missing and of those that are gone, and delete those that were told to be."""
        self._states = {row["dir"] for row in before.states}
        there = states_of(self.files, self._states)
        if not there:
            return
        stays = {f"states/{each.name}" for each in there[-self.keep_states :]}
        told = set(self._states)
        newest = there[-1].name
        if f"states/{newest}" not in told or told - stays:
            self._tell_state(int(newest.removeprefix("step")), removed=sorted(told - stays))
        for each in there[: -self.keep_states]:
            saved.remove_state(self.files, each)

    def notice(self, problem: str, fix: str = "", *, level: str = "warning", code: str = "") -> None:
        self.log.write("notice", level=level, problem=problem, fix=fix, code=code)

    def finished(
        self, outcome: str, *, problem: str = "", fix: str = "", evidence: str = "", code: str = ""
    ) -> None:
        saved.remove_unfinished(self.files)  # first: on a full disk the verdict needs its room
        try:
            write_losses(self.run_dir)
        except StorageError:  # losses.json can be made again; the verdict must not be lost with it
            log_traceback()
        self.log.write(
            "run_finished",
            sync=True,
            outcome=outcome,
            step=self.step,
            problem=problem,
            fix=fix,
            evidence=evidence,
            code=code,
        )
