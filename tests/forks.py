"""Children forked from a Python that has imported already what trainers import (`tests/warm.py`).

Such a child differs from one that is started by its command line only in the seconds of those imports, which are most of
what a run of some steps takes. Its pid, its exit code, its signals, its working folder, its environment and its output are as there; only
what the system itself keeps of a start (`/proc/PID/cmdline`, `environ`) is the fork server's.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

WARM = "tests.warm"


@functools.cache
def forks():
    """The context whose processes are such children: `forks().Process(target=..., args=...)`."""
    # Before torch: two busy threads each on a busy machine only wait for each other.
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([WARM])
    return context


class Forked:
    """A forked child with the interface of `subprocess.Popen`, as far as tests use it."""

    def __init__(
        self, module: str, arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], log: Path
    ):
        self._process = forks().Process(
            target=_run, args=(module, list(arguments), str(cwd), dict(env), str(log))
        )
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(str(self._process), timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def stand_alone(log: str | Path) -> None:
    """Make a forked process what a started one is: all that it says is appended to a file at once, and it starts children of its
    own as Python does by default."""
    multiprocessing.set_start_method(None, force=True)
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(file, stream.fileno())
        stream.reconfigure(write_through=True)


def _run(module: str, arguments: list[str], cwd: str, env: dict[str, str], log: str) -> None:
    """What `python -m module arguments` does."""
    stand_alone(log)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
