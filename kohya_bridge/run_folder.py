"""RunFolder: the durable truth of one run, as files that a person can read.

In: a folder. Out: its plan, events, folded state, checkpoints and requests to the child. Each file has one writer: the
desk writes `plan.yaml`, `child.json`, `run.json` and `control/`; the child everything else while it lives.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .errors import NotFound, StorageError
from .events import EventLog, read_events
from .plan import TrainingPlan, read_plan
from .run_state import RunState, fold
from .workspace import write_atomically

CONTROLS = ("stop", "pause", "lend", "checkpoint", "sample")


@dataclass(frozen=True)
class ChildIdentity:
    """Which process trains: a pid alone may be somebody else's after a reboot or a long night."""

    pid: int
    started: float
    """Process start time as psutil's `create_time()` gives it, in seconds since the epoch."""
    boot_id: str
    argv: tuple[str, ...]
    attempt: int
    start_ticks: int | None = None
    """The kernel's own start time (Linux): unlike `started` it stands when the clock is corrected."""
    keeper: dict[str, Any] | None = None
    """The process that waits for this one, as a `processes.ProcessMark`."""
    ended: float | None = None
    """When the desk or the keeper closed the attempt, in seconds since the epoch."""
    exit_code: int | None = None
    """How it ended; None while it runs, and when nobody was there to see it."""


@dataclass(frozen=True)
class RunFolder:
    """One run's folder. Constructing it reads and writes nothing."""

    dir: Path

    @property
    def run_id(self) -> str:
        return self.dir.name

    @property
    def slug(self) -> str:
        return self.dir.parent.name

    plan_file = property(lambda self: self.dir / "plan.yaml")
    child_file = property(lambda self: self.dir / "child.json")
    identity_file = property(lambda self: self.dir / "run.json")
    events_file = property(lambda self: self.dir / "events.jsonl")
    log_file = property(lambda self: self.dir / "train.log")
    losses_file = property(lambda self: self.dir / "losses.json")
    environment_file = property(lambda self: self.dir / "environment.json")
    best_file = property(lambda self: self.dir / "best.json")
    stopping_file = property(lambda self: self.dir / "stopping.json")
    lending_file = property(lambda self: self.dir / "lending.json")
    choices_file = property(lambda self: self.dir / "choices.json")
    unattended_file = property(lambda self: self.dir / "unattended.json")
    held_prompts_dir = property(lambda self: self.dir / "held_prompts")
    checkpoints_dir = property(lambda self: self.dir / "checkpoints")
    states_dir = property(lambda self: self.dir / "states")
    samples_dir = property(lambda self: self.dir / "samples")
    control_dir = property(lambda self: self.dir / "control")
    staging_dir = property(lambda self: self.dir / "staging")

    @property
    def exists(self) -> bool:
        return bool(self.plan_file.is_file())

    @property
    def is_published(self) -> bool:
        """Whether a LoRA of this run was packaged; the run is then its proof of origin."""
        return any(self.dir.glob("package/*/package.json"))

    def held_prompts(self) -> list[Path]:
        """Files of the canvas parts that wait for this run (`held_prompt.py`)."""
        return list(self.held_prompts_dir.glob("*.json"))

    def plan(self) -> TrainingPlan:
        return read_plan(self.plan_file)

    def events(self, *, after: int = 0) -> Iterator[dict[str, Any]]:
        return read_events(self.events_file, after=after)

    def state(self) -> RunState:
        """The state that the events tell. A run without events is `queued`."""
        return fold(self.events())

    def identity(self) -> ChildIdentity | None:
        """Who trains or last trained, or None before the first start."""
        if not self.identity_file.is_file():
            return None
        data = json.loads(self.identity_file.read_text("utf-8"))
        return ChildIdentity(**{**data, "argv": tuple(data["argv"])})

    def next_attempt(self) -> int:
        """The number of the attempt that comes next."""
        identity = self.identity()
        return max(self.state().attempt, identity.attempt if identity else 0) + 1

    def write_identity(self, identity: ChildIdentity) -> None:
        write_atomically(self.identity_file, json.dumps(asdict(identity), indent=1))

    def append(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Write one event for a run that has no living child. The caller makes sure of that. Raises StorageError."""
        try:
            log = EventLog(self.events_file)
            try:
                return log.write(kind, sync=True, **fields)
            finally:
                log.close()
        except OSError as error:
            raise StorageError(
                f"The events of run {self.run_id} could not be written: {error.strerror or error}.",
                f"Free disk space or mend the permissions of {self.dir}.",
            ) from error

    def ask(self, control: str, **fields: Any) -> None:
        """Leave a request for the child; it acts at its next step boundary and answers with a `control` event."""
        if control not in CONTROLS:
            raise ValueError(f"unknown control {control!r}")
        write_atomically(self.control_dir / control, json.dumps({"time": time.time(), **fields}))

    def withdraw(self, control: str) -> None:
        """Take a request back; taking back `pause` is how a paused child is resumed."""
        (self.control_dir / control).unlink(missing_ok=True)

    def asked(self, control: str) -> bool:
        return bool((self.control_dir / control).exists())

    def latest_state(self) -> tuple[int, Path] | None:
        """`(step, folder)` of the newest complete resume state on disk, or None. Folder names carry the true step."""
        found = []
        if self.states_dir.is_dir():
            for each in self.states_dir.iterdir():
                step = each.name.removeprefix("step")
                if each.is_dir() and step.isdigit() and len(step) == 8:
                    found.append((int(step), each))
        return max(found) if found else None

    def checkpoint(self, which: str | int = "best") -> dict[str, Any]:
        """The row of a checkpoint: `best`, `latest`, or a step. The file is checked to be there.

        Raises:
            NotFound: no such checkpoint; the fix lists the steps there are.
        """
        state = self.state()
        rows = sorted(state.checkpoints, key=lambda row: row["step"])
        if which == "best" and state.best:
            wanted = [row for row in rows if row["file"] == state.best["file"]] or rows[-1:]
        elif which in ("best", "latest"):
            wanted = rows[-1:]
        else:
            wanted = [row for row in rows if str(row["step"]) == str(which)]
        if not wanted or not (self.dir / wanted[-1]["file"]).is_file():
            steps = ", ".join(str(row["step"]) for row in rows) or "none yet"
            raise NotFound(
                f"Run {self.run_id} has no checkpoint {which!r}.", f"Checkpoints at steps: {steps}."
            )
        chosen: dict[str, Any] = wanted[-1]
        return chosen

    def log_tail(self, lines: int = 40, *, most_bytes: int = 64_000) -> str:
        """The last lines of `train.log`; progress bars drawn over one line count as one."""
        if not self.log_file.is_file():
            return ""
        with open(self.log_file, "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - most_bytes))
            text = stream.read().decode("utf-8", "replace")
        kept = [line.rsplit("\r", 1)[-1].rstrip() for line in text.replace("\r\n", "\n").split("\n")]
        return "\n".join(line for line in kept[-lines - 1 :] if line)
