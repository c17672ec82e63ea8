"""The supervisor: starting a trainer so that it outlives us, and knowing afterwards whether it still lives.

In: a run and the command of its next attempt. Out: a detached keeper with the trainer under it, and a `StartOutcome`: a
missing interpreter is one too, not an exception. Who lives is asked of the system, never believed of a file: `run.json` says
where to look, the process itself must show that it was started for this run.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from . import processes
from .engines.contract import Command, python_module_command
from .errors import Conflict, UnusableFile
from .processes import ProcessMark
from .reasons import reason_of
from .run_folder import ChildIdentity, RunFolder

log = logging.getLogger(__name__)
KEEPER = "kohya_bridge.keeper"
_keepers: dict[int, subprocess.Popen[bytes]] = {}  # those that this process started and has to reap


@dataclass(frozen=True)
class StartOutcome:
    """How a start went: truthy when the trainer runs."""

    failure: str = ""
    fix: str = ""

    def __bool__(self) -> bool:
        return not self.failure


def start(
    run: RunFolder, command: Command, *, attempt: int, engines: Mapping[str, str] | None = None
) -> StartOutcome:
    """Start the keeper of `run`, and with it the trainer. Returns once its pid is on disk.

    `engines` are those, in words, from which the keeper starts the next run, where they are not the usual ones.
    """
    told = {"argv": list(command.argv), "cwd": str(command.cwd), "environment": command.environment}
    outcome = _start_keeper(run, {**told, "attempt": attempt, "engines": dict(engines or {})})
    if not outcome and trainer_lives(run):
        return (
            StartOutcome()
        )  # its keeper was killed before it could answer; whoever looks next gives it another
    if not outcome:
        end_strays(run)
    return outcome


def adopt(run: RunFolder, *, engines: Mapping[str, str] | None = None) -> StartOutcome:
    """Give a trainer whose keeper was killed a new one, so that it is stopped, settled and followed by the next run."""
    identity = identity_of(run)
    if identity is None:
        return StartOutcome("There is no trainer.")
    return _start_keeper(run, {"adopt": asdict(identity), "engines": dict(engines or {})})


def _start_keeper(run: RunFolder, told: dict[str, Any]) -> StartOutcome:
    """What is to be done goes through a pipe: whatever lies in the run's folder may have come along with it."""
    command = python_module_command(KEEPER, str(run.dir))
    with run.files.append(run.log_file) as log:
        try:
            keeper = processes.start_detached(
                command.argv,
                cwd=command.cwd,
                env={**os.environ, **command.environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        except OSError as error:
            return StartOutcome(f"{sys.executable}: {reason_of(error)}.")
    assert keeper.stdin is not None and keeper.stdout is not None
    with suppress(BrokenPipeError):  # it died at once; the answer that does not come says so
        keeper.stdin.write(json.dumps(told).encode() + b"\n")
        keeper.stdin.close()
    with keeper.stdout as answer:
        line = answer.readline()
    _keepers[keeper.pid] = keeper
    if not line:
        return StartOutcome("The process that watches over the trainer did not start; train.log says why.")
    return StartOutcome(json.loads(line)["failure"])


def identity_of(run: RunFolder) -> ChildIdentity | None:
    """Who trains or last trained `run`. Where `run.json` is damaged, whoever lives and was started for the run."""
    try:
        return run.identity()
    except UnusableFile:
        return _found(run)


def _found(run: RunFolder) -> ChildIdentity | None:
    """An identity from the processes themselves; None when none of them was started for this run."""
    pids = processes.started_for(run.dir)
    keeper = next((pid for pid in pids if processes.runs_module(pid, KEEPER)), None)
    trainer = next((pid for pid in pids if pid != keeper), None)
    try:
        keeper_mark = processes.mark(keeper) if keeper else None
        # A keeper alone settles the run: its trainer has ended.
        mark = (
            processes.mark(trainer) if trainer else replace(keeper_mark, boot_id="") if keeper_mark else None
        )
    except processes.GONE:
        return None
    if mark is None:
        return None
    kept = keeper_mark.to_json() if keeper_mark else None
    return ChildIdentity(**mark.to_json(), argv=(), attempt=run.state().attempt or 1, keeper=kept)


def trainer_lives(run: RunFolder) -> bool:
    """Whether the trainer of the newest attempt runs."""
    identity = identity_of(run)
    return identity is not None and identity.ended is None and is_alive(run, identity)


def keeper_lives(run: RunFolder) -> bool:
    """Whether somebody waits beside the trainer who will close the attempt and start the next run."""
    identity = identity_of(run)
    if identity is None or identity.ended is not None or not identity.keeper:
        return False
    reap()
    return _works_for(run, ProcessMark(**identity.keeper))


def is_alive(run: RunFolder, identity: ChildIdentity) -> bool:
    """Whether that very process runs and trains `run`: not a zombie, not another one with its pid, not one from before a
    reboot, and not somebody else's that a file names."""
    return _works_for(
        run, ProcessMark(identity.pid, identity.started, identity.boot_id, identity.start_ticks)
    )


def _works_for(run: RunFolder, mark: ProcessMark) -> bool:
    return processes.lives(mark) and processes.was_started_for(mark.pid, run.dir)


def refuse_stranger(run: RunFolder) -> None:
    """Raise Conflict where `run.json` names a living process as this run's though it was not started for it: of another run, as in a
    folder that was copied while it trained, or somebody else's. Nothing is ever sent to it."""
    try:
        identity = run.identity()
    except UnusableFile:
        return
    if identity is None or identity.ended is not None:
        return
    named = [ProcessMark(identity.pid, identity.started, identity.boot_id, identity.start_ticks)]
    named += [ProcessMark(**identity.keeper)] if identity.keeper else []
    for each in named:
        if processes.lives(each) and processes.works_for_another(each.pid, run.dir):
            raise Conflict(
                f"run.json of run {run.run_id} names process {each.pid}, which was not started for this run: nothing was sent to it.",
                "The folder was copied or received while its run trained; resume it here, or mend or delete it.",
            )


def end_strays(run: RunFolder) -> None:
    """End what still works for a run of which no trainer is known: it was started by a keeper that was killed.

    Two trainers would write into one folder, and a helper that is left behind holds GPU memory.
    """
    ended = processes.end_all_of(run.dir)
    if ended:
        log.warning("Ended %d processes that were left behind by a trainer of run %s.", ended, run.run_id)


def reap() -> None:
    """Collect the keepers of ours that have ended, so that they don't stay as zombies."""
    for pid, keeper in list(_keepers.items()):
        if keeper.poll() is not None:
            _keepers.pop(pid, None)


def close_identity(run: RunFolder, *, ended: float, exit_code: int | None) -> None:
    """Note in `run.json` that the attempt is closed. Nothing happens for a run that never had a process."""
    identity = identity_of(run)
    if identity is not None:
        run.write_identity(replace(identity, ended=ended, exit_code=exit_code))
