"""Random SIGKILLs of whoever takes part in a run: the trainer, its keeper, both at once, the shell that follows it.

In: a seed and a count. Out: for each run that was hurt None, or the `Trouble` that it came to: not completed, other bytes, a process that
hangs, a run that is shown as living when nothing works for it.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from kohya_bridge.run_folder import RunFolder

from .crash_points import Point, Trouble, Yardstick, measure
from .outcome import outcome_of, untidiness
from .subjects import Visited, refuse_ghosts

VICTIMS = ("trainer", "keeper", "both", "shell")
KILLS_PER_RUN = 3
LONGEST_WAIT_S = 5.0


def kills(root: Path, *, count: int, seed: int) -> Iterator[Trouble | None]:
    """Hurt runs until `count` kills are done, a few in each run, each followed to its end."""
    settings = {"max_train_steps": 20, "save_every_n_steps": 5, "save_last_n_states": 1}
    subject = Visited(root, "", seconds_per_step=0.05, settings=settings)
    yardstick, dice = measure(subject), random.Random(seed)
    for number in range(-(-count // KILLS_PER_RUN)):
        yield _hurt(subject, yardstick, dice, name=f"seed-{seed}-run-{number}")


def _hurt(subject: Visited, yardstick: Yardstick, dice: random.Random, *, name: str) -> Trouble | None:
    run, told, wrong = subject.run(name), [], []
    try:
        for _ in range(KILLS_PER_RUN):
            victim, wait_s = dice.choice(VICTIMS), dice.uniform(0.2, LONGEST_WAIT_S)
            told.append(f"{name}: {victim} after {wait_s:.2f} s")
            shell = subject.visit(run.dir.parents[2], {})
            time.sleep(wait_s)
            _kill(victim, run, shell)
            with suppress(subprocess.TimeoutExpired):
                shell.wait(1.0)
            shell.kill()  # nobody looks any more; what lives goes on by itself
            shell.wait()
            subject.wait_until_dead(run)
            refuse_ghosts(run)
        subject.attempt(run, None)
        wrong = untidiness(run)
        if outcome_of(run) != yardstick.outcome:
            wrong.append(f"It came to {outcome_of(run)}, not to {yardstick.outcome}.")
    except (AssertionError, subprocess.TimeoutExpired) as error:
        wrong.append(str(error))
    return Trouble(tuple(Point(0, "kill") for _ in told), tuple(told), tuple(wrong)) if wrong else None


def _kill(victim: str, run: RunFolder, shell: subprocess.Popen[bytes]) -> None:
    identity = run.identity()
    keeper = (identity.keeper or {}).get("pid") if identity else None
    trainer = identity.pid if identity and identity.ended is None else None
    pids = {"trainer": [trainer], "keeper": [keeper], "both": [keeper, trainer], "shell": [shell.pid]}[victim]
    for pid in pids:
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
