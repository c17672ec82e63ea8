"""Leaving at once: a command that is interrupted takes along everything that it started, wherever that went.

In: the mark that `ComfyHost` puts into the environment of its ComfyUI. Every descendant inherits it, also those in sessions of their
own: keepers and trainers. Out: none of them left. A trainer is asked first, so that what it has learnt is saved.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import psutil

from kohya_bridge import processes
from kohya_bridge.desk import Desk
from kohya_bridge.errors import BridgeError
from kohya_bridge.run_folder import RunFolder
from kohya_bridge.stop_ladder import Rung
from kohya_bridge.supervisor import KEEPER

from .comfy_host import MARK, ComfyHost

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
RUNGS = (Rung("ask", 4.0), Rung("interrupt", 1.5), Rung("terminate", 1.0), Rung("kill", 1.0))
COMFYUI_S = 4.0
WITHIN_S = 8.5
POLL_S = 0.1


class Interrupted(BaseException):
    """The person, or the system, wants this command to end. Not an Exception: nothing on the way may take it for a failure."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """As shells tell it: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.number


@contextmanager
def interruptible() -> Iterator[None]:
    """Within the block the first Ctrl-C, SIGTERM or closed terminal raises `Interrupted`, and the ones behind it do nothing, also
    after the block, while the process ends: an ending must not be ended. Ctrl-C counts also where a shell has started this in the
    background."""
    before = {}
    is_leaving = False

    def leave(number: int, frame: FrameType | None) -> None:
        nonlocal is_leaving
        if not is_leaving:
            is_leaving = True
            raise Interrupted(number)

    for number in (getattr(signal, name) for name in SIGNALS if hasattr(signal, name)):
        if signal.getsignal(number) is signal.SIG_IGN and number != signal.SIGINT:
            continue  # nohup
        before[number] = signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if is_leaving else handler)


def wait_for(process: subprocess.Popen[bytes]) -> int:
    """The exit code of a child, once it has ended. A signal that comes in the moment before Python asks the system to wait is noticed at
    the next look only: with a wait that has no end, Ctrl-C would be lost."""
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=1.0)


def end_everything(host: ComfyHost, desk: Desk, *, waiting: Collection[str] = ()) -> list[RunFolder]:
    """End the marked ComfyUI and all that it started, in `WITHIN_S` seconds and a moment. Returns the runs that trained.

    `waiting` are ids of runs that may still stand in line on its behalf.
    """
    began, asked = time.monotonic(), list[RunFolder]()
    host.interrupt()
    for comfyui in left_by_earlier(host):
        processes.signal_group(comfyui.pid, "interrupt")
    for run_id in waiting:
        with suppress(BridgeError):
            desk.slot.leave(desk.run(run_id))
    while left := started_by(host):
        for run in trained_by(left):
            if run not in asked:
                asked.append(run)
                with suppress(BridgeError):  # such as a full disk: it is killed when its time is over
                    desk.stop(run.run_id, rungs=RUNGS)
        passed_s = time.monotonic() - began
        if passed_s > COMFYUI_S:
            host.kill()
        if passed_s > WITHIN_S:
            _kill(left)
        time.sleep(POLL_S)
    host.kill()  # it has ended, and is taken off the system's list
    return asked


def started_by(host: ComfyHost) -> list[psutil.Process]:
    """Every living process with the mark of that ComfyUI, itself included; also those that an earlier one with that mark left."""
    return [each for each in psutil.process_iter() if _environment(each).get(MARK) == host.mark]


def left_by_earlier(host: ComfyHost) -> list[psutil.Process]:
    """The ComfyUIs with the mark of that one that an earlier command has started: that was killed and could end nothing."""
    own = host.process.pid if host.process else None
    return [
        each
        for each in started_by(host)
        if each.pid != own
        and processes.RUN_VARIABLE not in _environment(each)
        and not processes.runs_module(each.pid, KEEPER)
    ]


def trained_by(found: list[psutil.Process]) -> list[RunFolder]:
    """The runs whose trainers are among them."""
    folders = {_environment(each).get(processes.RUN_VARIABLE) for each in found}
    return [RunFolder(Path(each)) for each in sorted(filter(None, folders))]


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return {}
        return dict(process.environ())
    except (psutil.Error, OSError):  # gone, or another person's
        return {}


def _kill(found: list[psutil.Process]) -> None:
    for each in found:
        processes.signal_group(each.pid, "kill")
        with suppress(psutil.Error):
            each.kill()
