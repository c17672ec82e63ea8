"""One attempt at a run under sd-scripts: what our hooks know and decide between them.

In: the child's orders (`child.json`), the resume state's ledger, and what the hooks see. Out: events, and at each step
boundary the decision to save, measure, sample, wait or stop. Knows upstream's objects by duck type only.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...device.accelerator import Accelerator
from ...run_state import RunState
from ...selection import why_stop
from ...state_reader import read_state
from ..child import EXIT_NOT_FINITE, Child, ChildFailure, StopRequested
from ..off_device import OffDevice
from . import ranks
from .late_state import LateState
from .ledger import Ledger, capture_random_states
from .measuring import HeldOut
from .rates import learning_rates
from .resuming import EpochOrder, state_to_resume
from .state_loading import ledger_of

NON_FINITE_IN_A_ROW = 5


class EndedEarly(BaseException):
    """Training on is not worth it; the final LoRA is on disk. BaseException: upstream may not swallow it."""


@dataclass
class Attempt:
    """State of this process. `offset` is the number of steps done before it; steps elsewhere are cumulative."""

    child: Child
    orders: dict[str, Any]
    settings: dict[str, Any]
    total: int
    resume: Path | None = None
    offset: int = 0
    resumed: Ledger | None = None
    step: int = 0
    args: Any = None
    accelerator: Any = None
    network: Any = None
    optimizer: Any = None
    scheduler: Any = None
    descriptions: list[str] | None = None
    modules: list[Any] = field(default_factory=list)
    order: EpochOrder | None = None
    losses: list[Any] = field(default_factory=list)
    held_out: HeldOut | None = None
    batches_to_measure: int = 0
    late_state: LateState = field(default_factory=LateState)
    models_loaded: bool = False
    last_saved: int = -1
    last_file: Path | None = None
    stop_reason: str = ""
    to_sample: bool = False
    to_checkpoint: bool = False
    eval_mode: Callable[[], None] = lambda: None
    train_mode: Callable[[], None] = lambda: None
    sample: Callable[[], None] = lambda: None
    _non_finite: int = 0
    _stopping: bool = False
    _early: bool = False

    @classmethod
    def begin(cls, child: Child) -> Attempt:
        """Read the orders and the ledger, and open the attempt with its `run_started` event.

        Raises:
            ChildFailure: the state to resume has no ledger, or one that can't be read.
        """
        orders, settings = child.told["kohya"], child.told["plan"]["settings"]
        resume = state_to_resume(child.run_dir, child.told)
        attempt = cls(child, orders, settings, total=settings["max_train_steps"], resume=resume)
        try:
            ledger = ledger_of(resume) if resume else None
        except ChildFailure:
            begin_attempt(child, resumed_from=0)
            raise
        attempt.offset = attempt.step = ledger.step if ledger else 0
        begin_attempt(child, resumed_from=attempt.offset)
        if resume and ledger is None:
            raise ChildFailure(
                "The state to resume has no ledger.json; it is not one of this pack's.",
                "Delete that folder below states/ and resume again: an older state or the beginning is taken.",
                code="bad_state",
            )
        if ledger:
            attempt.resumed = ledger.after_whole_epoch()
        if orders["held_out"]:
            attempt.held_out = HeldOut(math.ceil(orders["held_out"] / ranks.world_size()))
        return attempt

    @property
    def report(self) -> Any:
        return self.child.report

    @property
    def steps_per_epoch(self) -> int:
        batches = len(self.order) if self.order else 0
        return max(1, math.ceil(batches / int(self.args.gradient_accumulation_steps)))

    @property
    def epoch(self) -> int:
        """Epoch of the current step, counted from 1 over all attempts."""
        return max(0, self.step - 1) // self.steps_per_epoch + 1

    def ledger(self) -> Ledger:
        """This moment, random states included: draw nothing between the state that it goes with and this."""
        order, now = self.order, capture_random_states()
        assert order is not None
        return Ledger(self.step, order.epoch, order.batches, len(order), order.order, now)

    def stop_where_due(self) -> None:
        """Do what the attempt before was cut short in: the early stop that its last measurement called for.

        Raises:
            EndedEarly: the LoRA of the state's step is the final one now.
        """
        state = told_so_far(self.child)
        if not self.offset or not state.validations or state.validations[-1]["step"] != self.offset:
            return
        self.stop_reason = self._why_stop()
        row = next((each for each in state.checkpoints if each["step"] == self.offset), None)
        if self.stop_reason and ranks.world_size() == 1 and row and self.child.is_intact(row):
            self.last_file = self.child.run_dir / row["file"]
            self.end_early()

    # --- at the step boundary, before upstream saves ---------------------------------------------------------------

    def boundary(self, global_step: int) -> None:
        """An optimizer step is done: tell it, take up requests, and steer what upstream does next in this step."""
        self.step = self.offset + global_step
        loss = self._mean_loss()
        self.report.progress(self.step, loss=loss, epoch=self.epoch, lr=self._rates(), vram_gib=_vram_gib())
        self._guard(loss)
        last = self.step >= self.total
        wanted = self._requests()
        asked = bool(wanted & {"stop", "early", "checkpoint"})
        regular = _due(self.step, self.settings["save_every_n_steps"])
        save = asked or regular
        self._stopping = bool(wanted & {"stop", "early"}) and not last
        self._early = "early" in wanted
        self.to_checkpoint = "checkpoint" in wanted
        self.to_sample = "sample" in wanted or self._sample_due()
        # Upstream reads these at every step. On the last one it saves by itself, and a state there would have no use.
        self.args.save_every_n_steps = 1 if save and not last else None
        self.args.save_state = save and not last and (self.settings["save_state"] or asked)
        # A stop waits for a measurement that is due anyway: the steps to come would miss it.
        measure = self._measure_due(regular if self._stopping else save, last) and not self._early
        self.args.validate_every_n_steps = 1 if measure else None
        if self.args.save_every_n_steps:
            self.report.phase("saving")

    def _mean_loss(self) -> float:
        losses, self.losses = [float(each) for each in self.losses], []
        return sum(losses) / len(losses) if losses else math.nan

    def _rates(self) -> dict[str, float]:
        return learning_rates(
            self.scheduler,
            self.optimizer,
            descriptions=self.descriptions,
            unet_only=self.args.network_train_unet_only,
        )

    def _guard(self, loss: float) -> None:
        """End a run whose weights are lost; bear a few non-finite losses while the weights are whole (fp16 overflows)."""
        if math.isfinite(loss):
            self._non_finite = 0
            return
        self._non_finite += 1
        whole = all(bool(each.isfinite().all()) for each in self.network.parameters())
        if whole and self._non_finite < NON_FINITE_IN_A_ROW:
            self.report.notice(
                f"The loss of step {self.step} is {loss}; the weights are still whole.", code="not_finite"
            )
            return
        raise ChildFailure(
            f"The loss became {loss} at step {self.step}"
            + (" for several steps." if whole else " and the weights with it."),
            "Lower unet_lr (by ten), check mixed_precision (fp16 overflows where bf16 doesn't), then start again; "
            "checkpoints from before this step are good.",
            exit_code=EXIT_NOT_FINITE,
            code="not_finite",
        )

    def _requests(self) -> set[str]:
        """What is asked for now, the same on every rank. Waits here while paused, or while the GPU is lent."""
        wanted: set[str] = set()
        if ranks.rank() == 0:
            off = OffDevice([self.network, *self.modules], self.optimizer)
            wanted = self.child.hold_still(release=off.release, restore=off.restore)
            for action in sorted(wanted & {"stop", "checkpoint", "sample"}):
                self.report.log.write("control", action=action, stage="acknowledged", step=self.step)
            if self.stop_reason:
                wanted |= {"early"}
        return set(ranks.agree(wanted))

    def _sample_due(self) -> bool:
        every_epoch = self.orders.get("sample_every_n_epochs")  # upstream lets epochs overrule steps
        return not every_epoch and _due(self.step, self.orders.get("sample_every_n_steps") or 0)

    def sample_due_after_epoch(self) -> bool:
        """Asked at an epoch's end."""
        return _due(self.epoch, self.orders.get("sample_every_n_epochs") or 0)

    def _measure_due(self, save: bool, last: bool) -> bool:
        if not self.held_out:
            return False
        every = self.settings["validate_every_n_steps"]
        return last or (_due(self.step, every) if every else save)

    @property
    def will_measure(self) -> bool:
        """Whether upstream measures later in this step, as it was told at its boundary."""
        return bool(self.args.validate_every_n_steps) and self.batches_to_measure > 0

    # --- later in the same step, after upstream saved ---------------------------------------------------------------

    def after_step(self, sample: Callable[[], None]) -> None:
        """Upstream has saved what it was told to: close requests, sample, and leave if a stop was asked for."""
        if not self.late_state.waits:
            self._close_checkpoint()
        if self.to_sample and not self._stopping:
            self.to_sample = False
            sample()
            self._close("sample")
        if self._stopping and self._early:
            self.end_early()
        if self._stopping and not self.args.validate_every_n_steps:
            raise StopRequested
        if self.args.validate_every_n_steps:
            self.report.phase("validating")
        elif self.args.save_every_n_steps:
            self.report.phase("training")

    def _close_checkpoint(self) -> None:
        if self.to_checkpoint:
            self.to_checkpoint = False
            self._close("checkpoint")

    def _close(self, action: str) -> None:
        if ranks.rank() == 0 and action in self.child.controls.wanted():
            self.child.controls.taken(action)
            self.report.log.write("control", action=action, stage="done", step=self.step)

    def measured(self) -> float | None:
        """A validation pass is over: tell it, and judge whether training on is worth it. Returns the held-out loss."""
        fields = self.held_out.finish() if self.held_out else None
        if fields is None:
            return None
        self.report.log.write("validation", step=self.step, **fields)
        self.report.phase("training")
        self.stop_reason = self._why_stop() if self.step < self.total else ""
        return float(fields["loss"])

    def after_measuring(self) -> None:
        """Save the state that waited for this. Leave at once when training on is not worth it and this step is saved; else the
        next boundary saves first."""
        if self.late_state.waits:
            self.report.phase("saving")
            self.late_state.land()
            self._close_checkpoint()
            self.report.phase("training")
        if self.stop_reason and self.last_saved == self.step and ranks.world_size() == 1:
            self.end_early()
        if self._stopping:
            raise StopRequested

    def end_early(self) -> None:
        """Make the LoRA of this step the final one and end the training.

        Raises:
            EndedEarly: always.
        """
        self.report.notice(
            f"Training stopped early after step {self.step}. {self.stop_reason}",
            level="info",
            code="early_stop",
        )
        if self.last_file is not None:
            self.report.checkpoint(self.last_file, self.step, name=self.orders["name"], final=True)
        raise EndedEarly

    def _why_stop(self) -> str:
        if ranks.rank() != 0:
            return ""
        reason = why_stop(
            told_so_far(self.child).validations,
            patience=self.settings["early_stop_patience"],
            min_delta=self.settings["early_stop_min_delta"],
            target_psnr=self.settings["target_psnr"],
        )
        return reason or ""

    # --- before the first step --------------------------------------------------------------------------------------

    def preparing(self, done: int, total: int | None) -> None:
        """Progress of loading or caching; a stop that is asked for now ends the attempt at once."""
        if "stop" in self.child.controls.wanted():
            raise StopRequested("Stopped on request before the first step of this attempt.")
        if total and self.models_loaded:
            self.report.phase("caching", done=done, total=total)


def begin_attempt(child: Child, *, resumed_from: int) -> None:
    """Write the event with which an attempt begins."""
    total, version = child.told["plan"]["settings"]["max_train_steps"], child.told["kohya"]["commit"]
    child.report.started(engine="kohya", total=total, resumed_from=resumed_from, version=version)


def told_so_far(child: Child) -> RunState:
    """What the events of all attempts tell, on any rank."""
    return read_state(child.run_dir / "events.jsonl")


def _due(step: int, every: int) -> bool:
    return bool(every) and step % every == 0


def _vram_gib() -> float | None:
    torch = sys.modules.get("torch")
    return Accelerator.find(torch).peak_gib() if torch else None
