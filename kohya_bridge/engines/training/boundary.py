"""What happens between two steps: saving, measuring, choosing the best, stopping, and what the desk asks for.

In: the number of finished steps. Out: files and events; True when training is over. The order is fixed: a checkpoint is
on disk before anything that could fail is tried, the state next, then the measurement, the choice and the early stop.
"""

from __future__ import annotations

from functools import partial

import torch

from ...device.accelerator import Accelerator
from ...models.lora_facts import check_lora
from ...models.lora_metadata import training_metadata
from ...reasons import reason_of
from ...run_folder import RunFolder
from ...selection import Choice, why_stop
from ..best import leave_best, tell_best
from ..child import Child, ChildFailure, StopRequested
from ..holding import reason_to_hold
from .lora_file import save_lora
from .meter import Meter, not_finite
from .sample import render_sample
from .state import write_state
from .training import Training

OWED = frozenset({"checkpoint", "final", "measurement"})
"""What is made at a boundary and may be there already when an attempt begins at one."""


class Boundary:
    """The boundary of one attempt. On ranks that don't speak it only keeps step with the first."""

    def __init__(self, child: Child, training: Training, meter: Meter):
        self.child, self.report, self.training, self.meter = child, child.report, training, meter
        self.settings, self.speaks = training.settings, training.ranks.speaks
        self.folder = RunFolder(child.run_dir)
        self._lora_step = self._state_step = -1
        self._phase = "loading"

    def before_first_step(self, step: int) -> bool:
        """Measure the untrained model, or finish the boundary at which the attempt before ended. True when training is over."""
        if self._close(step, owed=self._owed(step)):
            return True
        self._enter("training")
        self.child.controls.training = True
        return False

    def after_step(self, step: int) -> bool:
        """Everything that is due after `step` finished steps. True when training is over.

        Raises:
            StopRequested: a stop was asked for; LoRA and state are on disk.
        """
        if self._close(step, owed=OWED):
            return True
        self._obey(step)
        self._enter("training")
        return False

    def _close(self, step: int, *, owed: frozenset[str]) -> bool:
        """What is due after `step` and still owed. True when training is over."""
        last = step == self.settings.max_train_steps
        if "checkpoint" in owed and (last or _due(step, self.settings.save_every_n_steps)):
            self._save(step, final=last)
        reason = None
        if self._measure_due(step):
            if "measurement" in owed:
                self._measure(step)
            reason = None if last else self._why_stop()
            if reason and "final" in owed:  # again as the final one, if it is saved already
                self._save(step, final=True)
            self._choose()
        if reason:
            self.report.notice(
                f"Training stopped early after step {step}. {reason}", level="info", code="early_stop"
            )
        if last or reason:
            self._finish()
            return True
        return False

    def _owed(self, step: int) -> frozenset[str]:
        """What of `OWED` an attempt that ended at this very boundary left undone; the same on every rank."""
        if step:  # its state is what this attempt began with
            self._lora_step = self._state_step = step
        owed = set(OWED)
        if self.speaks:
            state = self.folder.state()
            rows = (row for row in state.checkpoints if row["step"] == step and self.child.is_intact(row))
            row = next(rows, None)
            last = step == self.settings.max_train_steps
            if row and (row["final"] or not last):
                owed.discard("checkpoint")
            if row and row["final"]:
                owed.discard("final")
                self.child.take_final(row)  # proven at the end, whoever wrote it
            if step in {row["step"] for row in state.validations}:
                owed.discard("measurement")
        return frozenset(self.training.ranks.agree(owed, among=sorted(OWED)))

    def _enter(self, phase: str) -> None:
        """Tell of a phase when it is another one than before."""
        if phase != self._phase:
            self.report.phase(phase)
        self._phase = phase

    def _obey(self, step: int) -> None:
        """Carry out the requests that lie in `control/`."""
        ranks = self.training.ranks
        wanted = ranks.agree(self.child.controls.wanted() if self.speaks else set())
        if not wanted:
            return
        self.meter.flush()
        for name, act in (("checkpoint", self._checkpoint_now), ("sample", self._sample_now)):
            if name in wanted:
                self._acknowledge(name, step)
                act(step)
                self._done(name, step)
        if reason_to_hold(wanted):
            wanted = self._hold_still()
        if "stop" in wanted:
            self._acknowledge("stop", step)
            self._checkpoint_now(step)
            raise StopRequested

    def _checkpoint_now(self, step: int) -> None:
        """LoRA and state of this step on disk, whatever the settings say; what is there already is not made again."""
        if (self._lora_step, self._state_step) != (step, step):
            self._save(step, final=False, asked=True)

    def _sample_now(self, step: int) -> None:
        """A picture, if it can be had: a wish that fails is told and costs no training."""
        if not self.speaks:
            return
        try:
            self.report.log.write("sample", **render_sample(self.training, step, self.folder.files))
        except (RuntimeError, OSError) as error:
            if isinstance(error, RuntimeError) and not Accelerator.find(torch).ran_out(error):
                raise
            self.report.notice(
                f"The sample at step {step} could not be made: {reason_of(error)}.",
                "Free GPU memory or disk space, and ask again.",
                code="sample_failed",
            )

    def _hold_still(self) -> set[str]:
        """Wait with everything off the GPU, until it is neither paused nor lent. What is wanted afterwards."""
        ranks = self.training.ranks
        release, restore = self.training.off_device()
        if self.speaks:
            return ranks.agree(self.child.hold_still(release=release, restore=restore))
        release()
        wanted = ranks.agree(set())
        restore()
        return wanted

    def _acknowledge(self, action: str, step: int) -> None:
        if self.speaks:
            self.report.log.write("control", action=action, stage="acknowledged", step=step)

    def _done(self, action: str, step: int) -> None:
        if self.speaks:
            self.child.controls.taken(action)
            self.report.log.write("control", action=action, stage="done", step=step)

    def _save(self, step: int, *, final: bool, asked: bool = False) -> None:
        """Write the LoRA, checked before it gets its name, and then the resume state unless it is there."""
        self.meter.flush()
        trained = self.training.trained
        if not trained.weights.are_finite():
            raise not_finite(f"A LoRA weight is not a number after step {step}.")
        with_state = (asked or self.settings.save_state) and self._state_step != step
        self._lora_step = step
        self._state_step = step if with_state else self._state_step
        if not self.speaks:
            return
        self._enter("saving")
        self._write_checkpoint(step, final=final)
        if with_state:
            with self.report.state_folder(step) as folder:
                write_state(folder, step, trained)
            self.report.state(step)

    def _write_checkpoint(self, step: int, *, final: bool) -> None:
        training, trained = self.training, self.training.trained
        temporary = self.folder.checkpoints_dir / ".writing.safetensors"
        self.folder.files.make(temporary.parent)
        metadata = training_metadata(training.plan, training.facts(step))
        with trained.optimiser.averaged():
            save_lora(
                temporary, trained.network.state(), dtype=self.settings.save_precision, metadata=metadata
            )
        wrong = check_lora(temporary, step=step)
        if wrong:
            self.folder.files.remove(temporary)
            raise ChildFailure(
                f"The LoRA of step {step} is damaged: {wrong[0]}", "Resume from the last state."
            )
        self.report.checkpoint(temporary, step, name=training.plan.character, final=final)

    def _measure_due(self, step: int) -> bool:
        """At every n-th step, or with every checkpoint; the untrained model and the last step always."""
        every = self.settings.validate_every_n_steps or self.settings.save_every_n_steps
        ends = step in (0, self.settings.max_train_steps)
        return self.training.held_out is not None and (ends or _due(step, every))

    def _measure(self, step: int) -> None:
        self.meter.flush()
        if not self.speaks:
            return
        held_out = self.training.held_out
        assert held_out is not None, "a measurement is due only where pictures are held out"
        self._enter("validating")
        with self.training.trained.optimiser.averaged(), self.training.evaluating():
            measured = held_out.measure(step)
        self.report.log.write("validation", **measured.event())

    def _why_stop(self) -> str | None:
        reason = None
        if self.speaks:
            settings = self.settings
            reason = why_stop(
                self.folder.state().validations,
                patience=settings.early_stop_patience,
                min_delta=settings.early_stop_min_delta,
                target_psnr=settings.target_psnr,
            )
        agreed = self.training.ranks.agree({"stop"} if reason else set())
        return (reason or "The first process says so.") if agreed else None

    def _choose(self) -> Choice | None:
        """Choose the best checkpoint anew, and tell it if it is another one than before or is so for another reason."""
        if not self.speaks:
            return None
        write = partial(self.report.log.write, sync=True)
        return tell_best(self.folder.dir, self.folder.state(), write)

    def _finish(self) -> None:
        """Leave `best.safetensors` and `best.json` behind."""
        self.meter.flush()
        choice = self._choose()
        if choice is not None:
            leave_best(self.folder.dir, choice)


def _due(step: int, every: int) -> bool:
    return bool(step and every and step % every == 0)
