"""The desk: the one place that nodes, routes and the shell talk to.

In: a workspace, the folders of ComfyUI's model lists, and what a person asks for. Out: runs. It checks everything first,
never trains the same plan twice, and can be thrown away at any time: another desk on the same workspace, in this process
or the next, knows all that it knew. It imports neither torch nor ComfyUI.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from . import supervisor
from .datasets.dataset_lock import note_training
from .engines.contract import Engine
from .engines.registry import load_engines
from .errors import BridgeError, Busy, Conflict, InvalidInput, NotFound, UnusableFile
from .files import Tree
from .models.comfy_folders import default_tokenizer_dir
from .models.places import LEAST_FREE_BYTES, Places
from .moving import move_between
from .plan import TrainingPlan, TrainingRequest, plan_differences
from .run_folder import RunFolder
from .run_state import RunState
from .runs.advice import tell_advice
from .runs.choices import Choices, keep_choices
from .runs.held_prompt import HeldPrompt, keep
from .runs.plan_paths import refuse_changed_dataset
from .runs.run_list import RunLine, RunList
from .runs.run_summary import RunSummary, summarise
from .runs.unattended import Unattended
from .runs.unattended import keep as validate_unattended
from .steering.answers import Answers
from .steering.lending import let_lend
from .steering.preflight import Check, check_request
from .steering.settling import completion_problems, revoke_completion
from .steering.slot import Slot
from .steering.starting import refuse_foreign_plan, startable
from .steering.watch import OnEvent, Watcher
from .stop_ladder import AT_ONCE, SOFT, Rung
from .workspace import Workspace

SETTLING_S = 30.0


class Desk:
    """See the module. `engines` replaces the registry's, by name."""

    def __init__(
        self,
        workspace: Workspace,
        *,
        checkpoint_dirs: Sequence[Path] = (),
        lora_dirs: Sequence[Path] = (),
        tokenizer_dir: Path | None = None,
        engines: Mapping[str, Engine] | None = None,
        least_free_bytes: int = LEAST_FREE_BYTES,
        model_dirs: Mapping[str, Sequence[Path]] | None = None,
        import_dirs: Sequence[Path] = (),
    ):
        self.workspace = workspace
        self.engines = load_engines() if engines is None else engines
        self.places = Places(
            workspace,
            checkpoint_dirs,
            lora_dirs,
            tokenizer_dir or default_tokenizer_dir(),
            least_free_bytes,
            model_dirs or {},
            import_dirs,
        )
        self.slot = Slot(workspace, engines=engines, places=self.places)
        self.answers = Answers(self.slot, queue=self.resume)
        self._settling_s: float | None = None
        self._watcher: Watcher | None = None
        self._run_list = RunList(workspace)

    def within(self, patience_s: float) -> Desk:
        """This desk for somebody who waits for nothing longer than that, such as a page: what takes longer raises Busy."""
        hurried = copy.copy(self)
        hurried.slot = self.slot.within(patience_s)
        hurried.answers = Answers(hurried.slot, queue=hurried.resume)
        hurried._settling_s = patience_s
        return hurried

    # --- asking ----------------------------------------------------------------------------------------------------

    def check(self, request: TrainingRequest) -> Check:
        """What would happen on `submit`: the plan, the engine and why, and every obstacle.

        Raises:
            InvalidInput, NotFound, Unavailable: the request is wrong; all that is wrong with it at once.
        """
        check = check_request(request, self.places, self.engines)
        before = self._plan_before(check.plan)
        if before is None:
            return check
        return replace(check, changes=tuple(plan_differences(before[1], check.plan)), compared_with=before[0])

    def runs(self) -> list[RunSummary]:
        """Every run of the workspace, the newest first. Those that can't be dealt with are among them, with what is wrong."""
        return [summarise(line, set_aside=self._trouble_with(line)) for line in self._run_list.lines()]

    def run(self, run_id: str) -> RunFolder:
        """The folder of a run by its id or an unambiguous beginning of it. Raises NotFound."""
        return RunFolder(self.workspace.find_run(run_id))

    def state(self, run_id: str) -> RunState:
        """What the events of a run tell so far."""
        return self._state(self.run(run_id))

    def is_alive(self, run_id: str) -> bool:
        """Whether the run's trainer works now."""
        return supervisor.trainer_lives(self.run(run_id))

    def queue(self) -> list[str]:
        """Ids of the waiting runs, the next one first."""
        return [order.run.run_id for order in self.slot.line()]

    # --- starting --------------------------------------------------------------------------------------------------

    def submit(
        self,
        what: Check | TrainingRequest,
        *,
        held_prompt: HeldPrompt | None = None,
        unattended: Unattended | None = None,
        lend_gpu: bool | None = None,
    ) -> RunFolder:
        """The run of this plan, now living, waiting, or completed: it is never trained twice.

        A living or waiting run is attached to, a completed one returned, a stopped or failed one resumed from its newest
        state (from the beginning if it has none). `held_prompt` waits in the run folder until the run has finished, `unattended` is queued for
        each checkpoint, `lend_gpu` lets prompts borrow the GPU or not (None: as before); none of them is part of the plan.

        Raises:
            Refused: something stands in the way (`Check.blocking`).
            Conflict: the dataset changed between `check` and now.
        """
        check = what if isinstance(what, Check) else self.check(what)
        plan = check.plan
        run = RunFolder(self.workspace.run_dir(plan.character, plan.run_id))
        self._let_it_settle(run)
        with self.slot.locked():
            if not self._is_settled_well(run) and not self._is_under_way(run):
                check.refuse_if_blocked()
                refuse_changed_dataset(plan, check.paths)
                if not _holds_its_plan(run):
                    note_training(
                        check.paths.dataset_dir, run_id=plan.run_id, cache_dir=check.paths.cache_dir
                    )
                    keep_choices(
                        run, Choices(check.engine_reason, check.precision_reason, check.forecast.sentence())
                    )
                    run.files.write(run.plan_file, plan.to_yaml())
                tell_advice(run, check.advice)
                self.slot.enqueue(run, plan.engine)
            if held_prompt is not None:
                keep(run, held_prompt)
            if unattended is not None:
                validate_unattended(run, unattended)
            if lend_gpu is not None:
                let_lend(run, lend_gpu)
        return run

    def resume(self, run_id: str) -> RunFolder:
        """Go on with a stopped or failed run from its newest state, from the beginning if it has none.

        A living or waiting run is left alone, a paused one goes on.

        Raises:
            NotFound, Conflict: its dataset, base model or engine are not what they were.
            Refused, Unavailable: the engine can't start it here and now.
        """
        run = self.run(run_id)
        self._let_it_settle(run)
        with self.slot.locked():
            if self._is_under_way(run):
                run.withdraw("pause")
            elif not self._is_settled_well(run):
                plan, _ = startable(run, self.engines, self.places)
                self.slot.enqueue(run, plan.engine)
        return run

    # --- steering --------------------------------------------------------------------------------------------------

    def stop(self, run_id: str, *, at_once: bool = False, rungs: Sequence[Rung] | None = None) -> None:
        """Ask a run to stop: after the step, with LoRA and state saved; `at_once` interrupts and soon kills it.

        Returns at once: the keeper beside the trainer climbs the ladder, also when this process ends. A waiting run
        leaves the queue. Nothing happens to a run that has ended.

        Raises:
            Conflict: its folder names a process that was not started for it.
        """
        run = self.run(run_id)
        if self.slot.leave(run):
            return
        if supervisor.trainer_lives(run):
            climbed = rungs if rungs is not None else AT_ONCE if at_once else SOFT
            run.ask("stop", rungs=[{"how": each.how, "seconds": each.seconds} for each in climbed])
            if not supervisor.keeper_lives(run):
                self.slot.advance()  # gives the trainer a new keeper, who climbs
        else:
            supervisor.refuse_stranger(run)

    def pause(self, run_id: str) -> None:
        """Hold the trainer at its next step; it keeps the slot. Raises Conflict if the run does not train."""
        self._ask_living(run_id, "pause")

    def unpause(self, run_id: str) -> None:
        """Let a paused run go on."""
        self.run(run_id).withdraw("pause")

    def checkpoint_now(self, run_id: str) -> None:
        """Save a LoRA at the next step. Raises Conflict if the run does not train."""
        self._ask_living(run_id, "checkpoint")

    def sample_now(self, run_id: str) -> None:
        """Render a sample at the next step. Raises Conflict if the run does not train."""
        self._ask_living(run_id, "sample")

    def move(self, run_id: str, position: int) -> None:
        """Put a waiting run at `position` of the queue, 1 being next. Raises Conflict if it does not wait."""
        self.slot.move(self.run(run_id), position)

    def delete(self, run_id: str) -> Path:
        """Move a run and its validations to `trash/` and return where they are now.

        Raises:
            Conflict: it trains or waits, or a LoRA of it was published.
        """
        run = self.run(run_id)
        with self.slot.locked():
            if not os.path.lexists(run.dir):
                raise NotFound(
                    f"Run {run.run_id} is gone.", "Somebody else deleted it; it is in the workspace's trash."
                )
            if self._is_under_way(run):
                raise Conflict(f"Run {run.run_id} is not over.", "Stop it first.")
            if run.is_published:
                raise Conflict(
                    f"A LoRA of run {run.run_id} was published; the run is its proof of origin.",
                    "Delete the published package first.",
                )
            name = f"{run.slug}-{run.run_id}-{time.strftime('%Y%m%d-%H%M%S')}"
            trash = Tree(self.workspace.trash_dir)
            move_between(Tree(run.dir.parent), run.dir, trash, f"{name}/run")
            validations = self.workspace.validation_dir(run.slug, run.run_id)
            if os.path.lexists(validations):
                move_between(Tree(validations.parent), validations, trash, f"{name}/validations")
            self.slot.orders.drop(run)
            self.slot.aside.forget(run)
            self.slot.readers.forget(run.events_file)
            self.slot.touch()
        return trash.path(name)

    # --- living with it --------------------------------------------------------------------------------------------

    def reconcile(self, *, patience_s: float | None = None) -> None:
        """Bring the records in line with what is: living trainers are kept, dead ones marked failed with the step at
        which they died, the next in line is started. For the start of a process; who watches does it too.

        Raises:
            Conflict: another process holds the lock, for `patience_s` if given. StorageError: the workspace can't be written.
        """
        self.slot.close_orphans(patience_s=patience_s)

    def start_watching(self, on_event: OnEvent) -> None:
        """Call `on_event(run, event)` for every new event of every run, from one thread, until `stop_watching`. Another thread
        reconciles first, and keeps the queue moving. Nothing that lies in the workspace makes it raise."""
        if self._watcher is None:
            self._watcher = Watcher(self.slot, on_event)
            self._watcher.start()

    def stop_watching(self) -> None:
        """End the thread. Runs and queue go on."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.stop()

    def wait(
        self,
        run_id: str,
        *,
        on_state: Callable[[RunState], None] = lambda state: None,
        should_stop: Callable[[], bool] = lambda: False,
        poll_s: float = 0.25,
    ) -> RunState:
        """Follow a run to its end and return the final state, checked and settled.

        `on_state` is called at every change, `should_stop` at every look. When that first answers True the run is asked
        to stop softly; what either raises ends the waiting, not the run.
        """
        run = self.run(run_id)
        told, asked = None, False
        while True:
            state, over = self.look(run)
            if state != told:
                on_state(state)
                told = state
            if over:
                return state
            if should_stop() and not asked:
                self.stop(run.run_id)
                asked = True
            time.sleep(poll_s)

    def look(self, run: RunFolder) -> tuple[RunState, bool]:
        """How a run stands, and whether it is over, checked and settled; on the way the queue is moved on, as `wait` does at
        each of its looks. Short: for whoever waits in a way of their own."""
        self.slot.advance()
        supervisor.reap()
        over = not self._is_under_way(run)  # asked first: what it told last is then in the state
        return self._state(run), over

    def runs_with_held_prompts(self) -> list[RunFolder]:
        """Finished runs for which a prompt still waits, such as after ComfyUI was closed meanwhile."""
        found = []
        for run in self.slot.runs():
            with self.slot.aside.sparing(run, "held prompts"):
                if run.held_prompts() and self._state(run).is_finished:
                    found.append(run)
        return found

    def runs_with_unattended_validation(self) -> list[RunFolder]:
        """Runs whose checkpoints are to be validated as they come."""
        return [run for run in self.slot.runs() if run.unattended_file.is_file()]

    def _trouble_with(self, line: RunLine) -> str:
        trouble = self.slot.aside.of(RunFolder(self.workspace.runs_dir / line.slug / line.run_id))
        return trouble.problem if trouble else ""

    # --- inside ----------------------------------------------------------------------------------------------------

    def _state(self, run: RunFolder) -> RunState:
        return self.slot.readers.state(run.events_file)

    def _is_under_way(self, run: RunFolder) -> bool:
        """Whether a run waits, trains, or has ended and is just being settled."""
        return self.slot.waits(run) or supervisor.trainer_lives(run) or supervisor.keeper_lives(run)

    def _let_it_settle(self, run: RunFolder) -> None:
        """Wait while a run that has told its end is being closed: it would be taken for one that trains."""
        until = time.monotonic() + (SETTLING_S if self._settling_s is None else self._settling_s)
        while self._is_under_way(run) and self._state(run).is_finished:
            if time.monotonic() >= until:
                if self._settling_s is None:
                    return
                raise Busy(f"Run {run.run_id} has just ended and is being closed.", "Try again in a moment.")
            time.sleep(0.05)

    def _is_settled_well(self, run: RunFolder) -> bool:
        """Whether a run is complete and its result still there; one whose result is gone is marked failed."""
        if self._is_under_way(run) or not run.exists or self._state(run).status != "completed":
            return False
        problems = completion_problems(run)
        if problems:
            revoke_completion(run, problems)
        return not problems

    def _ask_living(self, run_id: str, control: str) -> None:
        run = self.run(run_id)
        if not supervisor.trainer_lives(run):
            raise Conflict(f"Run {run.run_id} does not train now.", "Resume it first.")
        run.ask(control)

    def _plan_before(self, plan: TrainingPlan) -> tuple[str, TrainingPlan] | None:
        """Id and plan of the newest other run of the same character; one whose plan can't be read is passed over."""
        folders = Tree(self.workspace.runs_dir).entries(plan.character)
        others = [RunFolder(each) for each in folders if each.name != plan.run_id]
        for run in sorted(others, key=lambda run: run.planned, reverse=True):
            try:
                return run.run_id, run.plan()
            except (BridgeError, OSError):
                continue
        return None


def _holds_its_plan(run: RunFolder) -> bool:
    """Whether the plan lies in the run's folder already. One that is damaged is written again.

    Raises:
        Conflict: the folder holds the plan of another run.
    """
    if not run.exists:
        return False
    try:
        plan = run.plan()
    except (InvalidInput, UnusableFile):
        return False
    refuse_foreign_plan(run, plan)
    return True
