"""The half of the child contract that lives in the trainer's process, for every engine.

In: a run folder with `child.json`. Out: events, checkpoints under content-hashed names, states, `losses.json`, and
exactly one `run_finished` for every attempt that ends by itself. Standard library only: sd-scripts' interpreter has
other packages than ours. It knows nothing of models.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..events import EventLog, read_events
from ..files import Tree
from ..models.lora_check import lora_problems
from ..run_state import fold
from .holding import Loan, hold_still, reason_to_hold
from .trackers import Trackers

EMA_DECAY = 0.98  # about the last 50 steps; a single diffusion loss is mostly the luck of its timestep

# Exit codes of a child; documented in docs/cli.md.
EXIT_COMPLETED = 0
EXIT_FAILED = 1
EXIT_OUT_OF_MEMORY = 3
EXIT_NO_DATA = 4
EXIT_NOT_FINITE = 5
EXIT_DISK_FULL = 6
EXIT_ABORTED = 130

STATE_NAME = re.compile(r"step\d{8}")
"""What we name a resume state. A copy that a person keeps beside it under another name is theirs."""


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


class Reporter:
    """Writes the events of one attempt and keeps the numbers that go into them (average, speed, remaining time)."""

    def __init__(self, run_dir: Path, *, clock: Callable[[], float] = time.time):
        self.run_dir = Path(run_dir)
        self.files = Tree(self.run_dir)
        trackers = Trackers(self.run_dir, complain=self.notice)
        self.log = EventLog(self.run_dir / "events.jsonl", clock=clock, listener=trackers.take)
        self.clock = clock
        self.step = 0
        self.total = 0
        self.final: tuple[Path, int] | None = None
        """The final LoRA and its step, once it is saved."""
        self._ema: float | None = None
        self._last_step_time: float | None = None
        self._seconds: float | None = None

    def started(self, *, engine: str, total: int, resumed_from: int = 0, **more: Any) -> None:
        """Begin an attempt; its number follows the attempts that the event file tells of."""
        before = fold(read_events(self.run_dir / "events.jsonl"))
        self.step, self.total = resumed_from, total
        kept = [row for row in before.losses if row[0] <= resumed_from]
        if kept and isinstance(kept[-1][2], (int, float)):
            self._ema = float(kept[-1][2])
        self.log.write(
            "run_started",
            sync=True,
            attempt=before.attempt + 1,
            engine=engine,
            pid=os.getpid(),
            total=total,
            resumed_from=resumed_from,
            **more,
        )

    def phase(self, name: str, *, done: int | None = None, total: int | None = None) -> None:
        if name != "training":
            self._last_step_time = None
        counted: dict[str, Any] = {} if done is None else {"done": done, "total": total}
        self.log.write("phase", name=name, **counted)

    def progress(
        self, step: int, *, loss: float, epoch: int, lr: dict[str, float], vram_gib: float | None = None
    ) -> None:
        """One optimizer step is done. `loss` is its mean over micro-batches."""
        now = self.clock()
        if math.isfinite(loss):
            self._ema = loss if self._ema is None else EMA_DECAY * self._ema + (1 - EMA_DECAY) * loss
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
            loss_ema=self._ema,
            lr=lr,
            seconds_per_step=None if self._seconds is None else round(self._seconds, 4),
            eta_s=eta,
            vram_gib=vram_gib,
        )

    def checkpoint(self, written: Path, step: int, *, name: str, final: bool = False) -> Path:
        """Take over a complete LoRA file: rename it to `<name>-step<8 digits>-<hash8>.safetensors` and tell of it.

        The name carries the content's hash, so a loader that caches by path can never serve old weights. A step that is made
        again after a kill replaces its file: the weights are the same, but metadata with a time in it changes the hash.
        """
        digest = _sha256(self.files, written)
        target = self.run_dir / "checkpoints" / f"{name}-step{step:08d}-{digest[:8]}.safetensors"
        self.files.move(written, target)
        self.log.write(
            "checkpoint",
            sync=True,
            step=step,
            file=target.relative_to(self.run_dir).as_posix(),
            sha256=digest,
            bytes=target.stat().st_size,
            final=final,
        )
        same_step = re.compile(rf"{re.escape(name)}-step{step:08d}-[0-9a-f]{{8}}\.safetensors")
        for other in self.files.entries(target.parent):
            if other != target and same_step.fullmatch(other.name):
                self.files.clear(other)
        if final:
            self.final = target, step
        return target

    def state(self, step: int, *, keep: int) -> None:
        """Tell that `states/step<8 digits>` is complete, and delete all but the newest `keep` by true step."""
        known = [
            each
            for each in self.files.entries("states")
            if self.files.is_folder(each) and STATE_NAME.fullmatch(each.name)
        ]
        removed = [each for each in known if each.name <= f"step{step:08d}"][:-keep]
        for each in removed:
            with suppress(OSError):
                self.files.clear(each)
        self.log.write(
            "state",
            sync=True,
            step=step,
            dir=f"states/step{step:08d}",
            removed=[f"states/{each.name}" for each in removed],
        )

    def notice(self, problem: str, fix: str = "", *, level: str = "warning", code: str = "") -> None:
        self.log.write("notice", level=level, problem=problem, fix=fix, code=code)

    def finished(
        self, outcome: str, *, problem: str = "", fix: str = "", evidence: str = "", code: str = ""
    ) -> None:
        try:
            write_losses(self.run_dir)
        except OSError:  # losses.json can be made again; the verdict must not be lost with it
            traceback.print_exc()
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

    @contextmanager
    def state_folder(self, step: int) -> Any:
        """A folder to fill with a resume state; it gets its real name only when the block ends without an error."""
        final = self.run_dir / "states" / f"step{step:08d}"
        partial = final.with_name(f".partial-{final.name}")
        self.files.clear(partial)
        self.files.make(partial)
        yield partial
        self.files.clear(final)
        self.files.move(partial, final)


def write_losses(run_dir: Path) -> None:
    """`losses.json`: the loss series as the events tell it; derived, so it may be deleted and made again."""
    state = fold(read_events(run_dir / "events.jsonl"))
    series = {
        "columns": ["step", "loss", "loss_ema", "lr"],
        "losses": state.losses,
        "validations": [{key: row.get(key) for key in ("step", "loss", "psnr")} for row in state.validations],
    }
    Tree(run_dir).write("losses.json", json.dumps(series))


def _sha256(files: Tree, file: Path) -> str:
    digest = hashlib.sha256()
    with files.open(file) as stream:
        while block := stream.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


class Child:
    """An attempt at a run from inside the trainer's process: `told`, `report`, `controls`, and the boundary between steps."""

    def __init__(self, run_dir: Path, *, report: Any = None):
        """`report` replaces the reporter: of several processes that train one run, only the first may write."""
        self.run_dir = Path(run_dir)
        self.told: dict[str, Any] = Tree(self.run_dir).read_json("child.json")
        self.report = Reporter(self.run_dir) if report is None else report
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
        self.report._last_step_time = None  # the pause is no part of a step's time
        return wanted

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
            traceback.print_exc()
            return self._exit_code

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
            traceback.print_exc()
            self._exit_code = failure.exit_code
            report.finished("failed", problem=failure.problem, fix=failure.fix, code=failure.code)
            return failure.exit_code
        except BaseException as error:  # the outermost edge: log the traceback, tell problem and fix
            from .failures import explain  # there, because it takes the exit codes from here

            traceback.print_exc()
            problem, fix, code, exit_code = explain(error)
            self._exit_code = exit_code
            report.finished(
                "failed",
                problem=problem,
                fix=fix,
                code=code,
                evidence=f"{type(error).__name__}: {error}"[:2000],
            )
            return exit_code
