"""The supervisor: starting a trainer so that it outlives us, and knowing afterwards whether it still lives.

In: a run folder with `launch.json`. Out: a detached keeper with the trainer under it, and an `Outcome` of the start: a
missing interpreter is one too, not an exception. Whoever asks later needs nothing but the run folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from . import processes
from .engines.contract import python_module_command
from .processes import ProcessMark
from .run_folder import ChildIdentity, RunFolder

_keepers: dict[int, subprocess.Popen[bytes]] = {}  # those that this process started and has to reap


@dataclass(frozen=True)
class StartOutcome:
    """How a start went: truthy when the trainer runs."""

    failure: str = ""

    def __bool__(self) -> bool:
        return not self.failure


def start(run: RunFolder) -> StartOutcome:
    """Start the keeper of `run`, and with it the trainer that `launch.json` names. Returns once its pid is on disk."""
    return _start_keeper(run)


def adopt(run: RunFolder) -> StartOutcome:
    """Give a trainer whose keeper was killed a new one, so that it is stopped, settled and followed by the next run."""
    return _start_keeper(run, "--adopt")


def _start_keeper(run: RunFolder, *options: str) -> StartOutcome:
    command = python_module_command("kohya_bridge.keeper", str(run.dir), *options)
    with open(run.log_file, "ab", buffering=0) as log:
        try:
            keeper = processes.start_detached(
                command.argv,
                cwd=command.cwd,
                env={**os.environ, **command.environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        except OSError as error:
            return StartOutcome(f"{error.strerror or error}: {sys.executable}")
    assert keeper.stdout is not None
    with keeper.stdout as answer:
        line = answer.readline()
    _keepers[keeper.pid] = keeper
    if not line:
        return StartOutcome("The process that watches over the trainer did not start; train.log says why.")
    return StartOutcome(json.loads(line)["failure"])


def trainer_lives(run: RunFolder) -> bool:
    """Whether the trainer of the newest attempt runs."""
    identity = run.identity()
    return identity is not None and identity.ended is None and is_alive(identity)


def keeper_lives(run: RunFolder) -> bool:
    """Whether somebody waits beside the trainer who will close the attempt and start the next run."""
    identity = run.identity()
    if identity is None or identity.ended is not None or not identity.keeper:
        return False
    reap()
    return processes.lives(ProcessMark(**identity.keeper))


def is_alive(identity: ChildIdentity) -> bool:
    """Whether that very process runs: not a zombie, not another one with its pid, not one from before a reboot."""
    return processes.lives(
        ProcessMark(identity.pid, identity.started, identity.boot_id, identity.start_ticks)
    )


def reap() -> None:
    """Collect the keepers of ours that have ended, so that they don't stay as zombies."""
    for pid, keeper in list(_keepers.items()):
        if keeper.poll() is not None:
            _keepers.pop(pid, None)


def close_identity(run: RunFolder, *, ended: float, exit_code: int | None) -> None:
    """Note in `run.json` that the attempt is closed. Nothing happens for a run that never had a process."""
    if run.identity_file.is_file():
        data: dict[str, Any] = json.loads(run.identity_file.read_text("utf-8"))
        identity = ChildIdentity(
            **{**data, "argv": tuple(data["argv"]), "ended": ended, "exit_code": exit_code}
        )
        run.write_identity(identity)
