"""The half of the child contract that lives in the trainer's process, for every engine.

In: a run folder with `child.json`. Out: events, checkpoints under content-hashed names, states, `losses.json`, and
exactly one `run_finished` for every attempt that ends by itself. Standard library only: sd-scripts' interpreter has
other packages than ours. It knows nothing of models.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..files import Tree
from ..models.lora_check import lora_problems
from ..state_reader import read_state
from .best import leave_best, tell_best
from .holding import Loan, hold_still, reason_to_hold
from .reporter import Reporter
from .saved import file_digest
from .train_log import let_go_of_a_full_log, log_traceback

# Exit codes of a child; documented in docs/cli.md.
EXIT_COMPLETED = 0
EXIT_FAILED = 1
EXIT_OUT_OF_MEMORY = 3
EXIT_NO_DATA = 4
EXIT_NOT_FINITE = 5
EXIT_DISK_FULL = 6
EXIT_ABORTED = 130


class StopRequested(BaseException):
    """Raised at a step boundary once LoRA and state are on disk. BaseException: no `except Exception` may eat it."""


class ChildFailure(Exception):
    """A failure whose cause is known: said to the person as problem and fix, without a traceback."""

    def __init__(self, problem: str, fix: str, *, exit_code: int = EXIT_FAILED, code: str = "failed"):
        super().__init__(problem)
        self.problem, self.fix, self.exit_code, self.code = problem, fix, exit_code, code


class Controls:
    """Requests of the desk as files in `control/`, and signals. Looked at once a step; a listing costs microseconds."""

    def __init__(self, control_dir: Path):
        self.dir = Path(control_dir)
        self.files = Tree(self.dir.parent)
        self.files.make(self.dir)
        self.loan = Loan(self.dir / "lend")
        self.training = False
        self._signalled = False

    def install_signal_handlers(self) -> None:
        """SIGINT and SIGTERM ask for a soft stop; a second one, or one before training began, leaves at once.

        They must be installed: a parent that ignores SIGINT passes that on to its children.
        """
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, self._on_signal)

    def _on_signal(self, number: int, frame: object) -> None:
        if self._signalled or not self.training:
            raise KeyboardInterrupt
        self._signalled = True

    def wanted(self) -> set[str]:
        """Names of the requests that lie there now; `lend` only while that loan stands."""
        try:
            names = set(os.listdir(self.dir))
        except FileNotFoundError:
            names = set()
        if "lend" in names and not self.loan.stands():
            names.discard("lend")
        return names | {"stop"} if self._signalled else names

    def taken(self, name: str) -> None:
        """Remove a request that has been carried out."""
        self.files.clear(self.dir / name)


class Child:
    """An attempt at a run from inside the trainer's process: `told`, `report`, `controls`, and the boundary between steps."""

    def __init__(self, run_dir: Path, *, report: Any = None):
        """`report` replaces the reporter: of several processes that train one run, only the first may write."""
        self.run_dir = Path(run_dir)
        self.told: dict[str, Any] = Tree(self.run_dir).read_json("child.json")
        keep_states = self.told["plan"]["settings"]["save_last_n_states"]
        self.report = Reporter(self.run_dir, keep_states=keep_states) if report is None else report
        self.controls = Controls(self.run_dir / "control")

    def hold_still(
        self,
        *,
        release: Callable[[], None] | None = None,
        restore: Callable[[], None] | None = None,
        poll_s: float = 0.1,
    ) -> set[str]:
        """Wait while the run is paused or its GPU is lent; see `holding.hold_still`. Returns the requests afterwards."""
        wanted = self.controls.wanted()
        if reason_to_hold(wanted) is None:
            return wanted
        wanted = hold_still(self.controls, self.report, release=release, restore=restore, poll_s=poll_s)
        self.report.out_of_step()
        return wanted

    def final_before(self, *, measured: bool = False) -> dict[str, Any] | None:
        """The row of an intact final LoRA that an attempt before left, `measured` if it has to be.

        An attempt may die between its last file and its verdict. What is left then is to judge, not to train.
        """
        state = read_state(self.run_dir / "events.jsonl")
        planned = self.told["plan"]["settings"]["max_train_steps"]
        early = any(row.get("code") == "early_stop" for row in state.notices)
        finals = [row for row in state.checkpoints if row.get("final") and (early or row["step"] == planned)]
        if measured:
            steps = {row["step"] for row in state.validations}
            finals = [row for row in finals if row["step"] in steps]
        return next((dict(row) for row in finals if self.is_intact(row)), None)

    def is_intact(self, row: dict[str, Any]) -> bool:
        """Whether a checkpoint's file is still the very one that was told of."""
        try:
            return bool(file_digest(Tree(self.run_dir), row["file"]) == row["sha256"])
        except OSError:
            return False

    def take_final(self, row: dict[str, Any]) -> None:
        """Let that final LoRA be this attempt's result; it is proven at the end like one of its own."""
        self.report.final = self.run_dir / row["file"], row["step"]

    def finish_with(self, final: dict[str, Any]) -> None:
        """Do what an attempt does after its final LoRA, for one that was cut short there."""
        self.take_final(final)
        if isinstance(self.report, Reporter):
            choice = tell_best(self.run_dir, self.report.told(), self.report.log.write)
            if choice is not None:
                leave_best(self.run_dir, choice)

    def _prove_result(self) -> None:
        """Only a run that left a final LoRA, whole and finite, may say that it completed."""
        if not isinstance(self.report, Reporter):
            return  # one of several processes: the first one writes, and proves
        final = self.report.final
        problems = ["No final LoRA was saved."] if final is None else lora_problems(final[0], steps=final[1])
        if problems:
            raise ChildFailure(
                f"Training ended without a usable LoRA: {' '.join(problems)}",
                "The log says what happened last; resume trains the missing part again.",
                code="no_result",
            )

    def guarded(self, train: Callable[[], None]) -> int:
        """Run `train` and turn however it ends into the one `run_finished` event and an exit code.

        Where even that event can't be written, the exit code alone tells; the desk then writes the verdict.
        """
        self.controls.install_signal_handlers()
        self._exit_code = EXIT_FAILED
        try:
            return self._judged(train)
        except OSError:
            log_traceback()
            return self._exit_code
        finally:
            let_go_of_a_full_log()

    def _judged(self, train: Callable[[], None]) -> int:
        report = self.report
        try:
            train()
            self._prove_result()
            report.finished("completed")
            return EXIT_COMPLETED
        except StopRequested as stop:
            self.controls.taken("stop")
            report.finished(
                "stopped",
                problem=str(stop) or f"Stopped on request after step {report.step} of {report.total}.",
                fix="Resume continues from here.",
            )
            return EXIT_COMPLETED
        except KeyboardInterrupt:
            report.finished(
                "stopped",
                problem="Stopped at once on request; work since the last saved state is lost.",
                fix="Resume continues from the last saved state.",
                code="aborted",
            )
            return EXIT_ABORTED
        except ChildFailure as failure:
            self._exit_code = failure.exit_code
            log_traceback()
            report.finished("failed", problem=failure.problem, fix=failure.fix, code=failure.code)
            return failure.exit_code
        except BaseException as error:  # the outermost edge: log the traceback, tell problem and fix
            from .failures import explain  # there, because it takes the exit codes from here

            problem, fix, code, exit_code = explain(error)
            self._exit_code = exit_code
            log_traceback()
            report.finished(
                "failed",
                problem=problem,
                fix=fix,
                code=code,
                evidence=f"{type(error).__name__}: {error}"[:2000],
            )
            return exit_code
