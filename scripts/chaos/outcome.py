"""What a run has come to, in a form that can be compared: a run that was hurt and resumed against one that was not.

In: a run folder. Out: an `Outcome` of its result, and sentences about everything that a finished run may not leave behind.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from kohya_bridge.models.safetensors_header import read_header
from kohya_bridge.package.header import tensor_sha256
from kohya_bridge.run_folder import RunFolder
from kohya_bridge.steering.settling import completion_problems

# A file that is being written, a folder that is being filled or cleared: names that must be gone in the end.
_UNFINISHED = re.compile(r"^\.|\.tmp$|\.part$|\.new$")


@dataclass(frozen=True)
class Outcome:
    """The result of a run: what a person gets and what a resume would go on from."""

    status: str
    step: int
    checkpoints: dict[int, tuple[str, bool]]
    """Step to digest and whether it is the final one."""
    best: tuple[int, str] | None
    """Step and digest of `best.safetensors`."""
    losses: tuple[tuple[int, object], ...]
    measured: tuple[tuple[int, object], ...]
    states: tuple[str, ...]


def outcome_of(run: RunFolder, *, weights_only: bool = False) -> Outcome:
    """`weights_only` leaves metadata out of the digests: sd-scripts writes the time into it."""
    digest = _weights if weights_only else _bytes
    state = run.state()
    best = None
    if run.best_file.is_file():
        best = (json.loads(run.best_file.read_text("utf-8"))["step"], digest(run.dir / "best.safetensors"))
    return Outcome(
        status=state.status,
        step=state.step,
        checkpoints={
            row["step"]: (digest(run.dir / row["file"]), bool(row.get("final"))) for row in state.checkpoints
        },
        best=best,
        losses=tuple((row[0], row[1]) for row in state.losses),
        measured=tuple((row["step"], row["loss"]) for row in state.validations),
        states=tuple(sorted(each.name for each in run.states_dir.glob("*"))),
    )


def untidiness(run: RunFolder) -> list[str]:
    """What a completed run should not be or have, in sentences."""
    state = run.state()
    found = (
        [f"It is {state.status}: {state.problem}"]
        if state.status != "completed"
        else completion_problems(run)
    )
    found += [f"{each} is left behind." for each in _leftovers(run)]
    rows = [row["file"] for row in state.checkpoints]
    files = sorted(each.relative_to(run.dir).as_posix() for each in run.checkpoints_dir.glob("*"))
    if sorted(rows) != files:
        found.append(f"Checkpoints told of: {sorted(rows)}; files: {files}.")
    told = sorted(row["dir"] for row in state.states)
    there = sorted(each.relative_to(run.dir).as_posix() for each in run.states_dir.glob("*"))
    if told != there:
        found.append(f"States told of: {told}; folders: {there}.")
    if requests := list(run.control_dir.glob("*")):
        found.append(f"Requests are left: {requests}.")
    return found + _verdict_problems(run)


def _leftovers(run: RunFolder) -> list[str]:
    return [
        each.relative_to(run.dir).as_posix()
        for each in run.dir.rglob("*")
        if _UNFINISHED.search(each.name) and "staging" not in each.parts
    ]


def _verdict_problems(run: RunFolder) -> list[str]:
    """Every attempt ends in exactly one `run_finished`, also what was ordered or planned and never told of a beginning.

    A run is told to be queued whenever its place changes, and again when somebody who was killed at the start is followed by another.
    """
    found, name, verdicts = [], "What never began", 0
    for event in run.events():
        if event["kind"] == "run_finished":
            verdicts += 1
            if verdicts > 1:
                found.append(f"{name} has {verdicts} verdicts.")
        elif event["kind"] == "queued" and (verdicts or name.startswith("Attempt")):
            found += [] if verdicts else [f"{name} has no verdict."]
            name, verdicts = "An order", 0
        elif event["kind"] == "run_started":
            found += [f"{name} has no verdict."] if name.startswith("Attempt") and not verdicts else []
            name, verdicts = f"Attempt {event['attempt']}", 0
    return found if verdicts else [*found, f"{name} has no verdict."]


def _bytes(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _weights(file: Path) -> str:
    return tensor_sha256(read_header(file))
