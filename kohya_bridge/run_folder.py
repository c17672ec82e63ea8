"""RunFolder: the durable truth of one run, as files that a person can read.

In: a folder. Out: its plan, events, folded state, checkpoints and requests to the child. Each file has one writer: the
desk writes `plan.yaml`, `child.json`, `run.json` and `control/`; the child everything else while it lives.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath
from types import NoneType
from typing import Any

from . import json_text
from .breathing import breathe
from .errors import NotFound, StorageError, UnusableFile
from .event_reader import read_events
from .events import EventLog
from .files import Tree
from .plan import TrainingPlan, read_plan
from .reasons import reason_of
from .redaction import without_secrets
from .run_state import RunState
from .state_folders import STATE_NAME, is_copy
from .state_reader import read_state

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

    @property
    def files(self) -> Tree:
        """The way to read and write anything in it."""
        return Tree(self.dir)

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
        return bool(self.files.is_file(self.plan_file))

    @property
    def planned(self) -> float:
        """When its plan was written, in seconds since the epoch; 0 where there is none."""
        try:
            return os.lstat(self.plan_file).st_mtime
        except OSError:
            return 0.0

    @property
    def told_bytes(self) -> int:
        """How long its event file is: it grows with everything that happens."""
        try:
            return os.lstat(self.events_file).st_size
        except OSError:
            return 0

    @property
    def is_published(self) -> bool:
        """Whether a LoRA of this run was packaged; the run is then its proof of origin."""
        return any(self.files.is_file(each / "package.json") for each in self.files.entries("package"))

    def held_prompts(self) -> list[Path]:
        """Files of the canvas parts that wait for this run (`held_prompt.py`)."""
        return [each for each in self.files.entries(self.held_prompts_dir) if each.suffix == ".json"]

    def plan(self) -> TrainingPlan:
        """What was asked. Raises NotFound where the run was deleted meanwhile, InvalidInput, UnusableFile."""
        try:
            return read_plan(self.files.plain(self.plan_file))
        except FileNotFoundError:
            raise NotFound(
                f"Run {self.run_id} is gone: it has no plan any more.",
                "Look at the list of runs, or in the workspace's trash.",
            ) from None

    def events(self, *, after: int = 0) -> Iterator[dict[str, Any]]:
        return read_events(self.events_file, after=after)

    def state(self) -> RunState:
        """The state that the events tell. A run without events is `queued`."""
        return read_state(self.events_file)

    def identity(self) -> ChildIdentity | None:
        """Who trains or last trained, or None before the first start. Raises UnusableFile when the record is damaged."""
        try:
            told = self.files.read_json(self.identity_file)
        except FileNotFoundError:
            return None
        return _identity(told)

    def next_attempt(self) -> int:
        """The number of the attempt that comes next."""
        try:
            identity = self.identity()
        except UnusableFile:
            identity = None
        return max(self.state().attempt, identity.attempt if identity else 0) + 1

    def environment(self) -> dict[str, Any]:
        """What the run was trained with, as `environment.json` tells; nothing where it is missing or damaged."""
        try:
            told = self.files.read_json(self.environment_file)
        except OSError:
            return {}
        return told if isinstance(told, dict) else {}

    def write_identity(self, identity: ChildIdentity) -> None:
        self.files.write(self.identity_file, json_text.write(asdict(identity), indent=1))

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
                f"The events of run {self.run_id} could not be written: {reason_of(error)}.",
                f"Free disk space or correct the permissions of {self.dir}.",
            ) from error

    def ask(self, control: str, **fields: Any) -> None:
        """Leave a request for the child; it acts at its next step boundary and answers with a `control` event."""
        if control not in CONTROLS:
            raise ValueError(f"unknown control {control!r}")
        self.files.write(self.control_dir / control, json_text.write({"time": time.time(), **fields}))

    def withdraw(self, control: str) -> None:
        """Take a request back; taking back `pause` is how a paused child is resumed."""
        self.files.clear(self.control_dir / control)

    def asked(self, control: str) -> bool:
        return bool(self.files.is_file(self.control_dir / control))

    def latest_state(self) -> tuple[int, Path] | None:
        """`(step, folder)` of the newest complete resume state on disk, or None. Folder names carry the true step; a copy
        that was given another step's name is none."""
        found = []
        for each in self.files.entries(self.states_dir):
            is_state = STATE_NAME.fullmatch(each.name) and self.files.is_folder(each)
            if is_state and not is_copy(self.files, each):
                found.append((int(each.name.removeprefix("step")), each))
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
        if not wanted or not self.files.is_file(wanted[-1]["file"]):
            steps = ", ".join(str(row["step"]) for row in rows) or "none yet"
            raise NotFound(
                f"Run {self.run_id} has no checkpoint {which!r}.", f"Checkpoints at steps: {steps}."
            )
        chosen: dict[str, Any] = wanted[-1]
        return chosen

    def weights_of(self, file: str) -> Path:
        """Where the weights lie that a row of the events names: a plain file of this run.

        Raises:
            NotFound: they are gone. UnusableFile: something else lies there, or the name leads out of the run.
        """
        try:
            return self.files.plain(file)
        except FileNotFoundError:
            raise NotFound(
                f"{PurePosixPath(file).name} of run {self.run_id} is gone.",
                "Choose another checkpoint, or resume the run to make it again.",
            ) from None

    def log_tail(self, lines: int = 40, *, most_bytes: int = 64_000) -> str:
        """The last lines of `train.log`, for people: without secrets, and progress bars drawn over one line count as one."""
        try:
            with self.files.open(self.log_file) as stream:
                stream.seek(max(0, os.fstat(stream.fileno()).st_size - most_bytes))
                text = stream.read(most_bytes).decode("utf-8", "replace")
        except OSError:
            return ""
        kept = [line.rsplit("\r", 1)[-1].rstrip() for line in text.replace("\r\n", "\n").split("\n")]
        return "\n".join(_without_secrets(line) for line in kept[-lines - 1 :] if line)


def _without_secrets(line: str) -> str:
    breathe()
    return without_secrets(line)


def _identity(told: Any) -> ChildIdentity:
    """`told` as an identity. Fields of later versions are passed over. Raises UnusableFile."""
    if _is_mark(told) and isinstance(told.get("argv"), list) and type(told.get("attempt")) is int:
        known = {each.name: told[each.name] for each in fields(ChildIdentity) if each.name in told}
        identity = ChildIdentity(**{**known, "argv": tuple(map(str, told["argv"]))})
        keeper, ended, code = identity.keeper, identity.ended, identity.exit_code
        is_kept = keeper is None or (_is_mark(keeper) and set(keeper) <= set(_MARK))
        if is_kept and isinstance(ended, (int, float, NoneType)) and isinstance(code, (int, NoneType)):
            return identity
    raise UnusableFile("run.json names no process.", "Mend the run: the file is put aside.")


_MARK = ("pid", "started", "boot_id", "start_ticks")


def _is_mark(told: Any) -> bool:
    """Whether a mapping has the fields of a `processes.ProcessMark`."""
    return (
        isinstance(told, dict)
        and type(told.get("pid")) is int
        and 0 < told["pid"] < 2**31
        and isinstance(told.get("started"), (int, float))
        and isinstance(told.get("boot_id"), str)
        and isinstance(told.get("start_ticks"), (int, NoneType))
    )
