"""Processes: which one is meant, whether it still lives, and how to reach everything that it started.

In: a pid. Out: a `ProcessMark` that survives on disk and is never mistaken for another process (pids are given again, and
after a reboot they start over), and signals to a whole group. POSIX and Windows differ only in this file. It starts
nothing. Standard library and psutil, so that the keeper of a run stays small.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

GONE = psutil.NoSuchProcess
"""What is raised when a process has ended meanwhile."""
WINDOWS = sys.platform == "win32"
_SAME_START_S = 1.0  # psutil derives the start from a boot time that the system's clock corrections move
_SAME_BOOT_S = 120.0


@dataclass(frozen=True)
class ProcessMark:
    """One process on one machine since one boot. `start_ticks` (Linux) is the kernel's own start time, which no clock
    correction moves; `started` is psutil's `create_time()` in seconds since the epoch."""

    pid: int
    started: float
    boot_id: str
    start_ticks: int | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def mark(pid: int) -> ProcessMark:
    """The mark of a living process. Raises `psutil.NoSuchProcess` when it is gone already."""
    return ProcessMark(pid, psutil.Process(pid).create_time(), boot_id(), _start_ticks(pid))


def lives(marked: ProcessMark) -> bool:
    """Whether that very process still runs. A zombie has ended; a pid that was given again or a reboot is another one."""
    if not _same_boot(marked.boot_id, boot_id()):
        return False
    try:
        process = psutil.Process(marked.pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return False
        ticks = _start_ticks(marked.pid)
        if ticks is not None and marked.start_ticks is not None:
            return ticks == marked.start_ticks
        return abs(process.create_time() - marked.started) < _SAME_START_S
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # somebody else's process: never one that we started
        return False


RUN_VARIABLE = "WIZDROID_RUN"
"""In a trainer's environment: the folder of the run that it was started for."""
_OURS = f"{__package__.rpartition('.')[2]}."
"""How the names of our modules begin on a command line."""


def started_for(run_dir: Path) -> list[int]:
    """Pids of the living processes that lead a group of their own and were started for that run. It looks at every process."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            leads = WINDOWS or os.getpgid(process.pid) == process.pid
            if leads and process.status() != psutil.STATUS_ZOMBIE and was_started_for(process.pid, run_dir):
                found.append(process.pid)
    return found


def runs_module(pid: int, module: str) -> bool:
    """Whether a process shows on its command line that it runs that module."""
    try:
        return module in psutil.Process(pid).cmdline()
    except (psutil.Error, OSError):
        return False


def was_started_for(pid: int, run_dir: Path) -> bool:
    """Whether a process shows by its own command line or environment that a program of ours was started for that run.

    No file can make another process show it, and processes that a version before started show it as well.
    """
    try:
        process = psutil.Process(pid)
        words = process.cmdline()
        if str(run_dir) in words and any(word.startswith(_OURS) for word in words):
            return True
        return process.environ().get(RUN_VARIABLE) == str(run_dir)
    except (psutil.Error, OSError):  # gone, or another person's
        return False


def works_for_another(pid: int, run_dir: Path) -> bool:
    """Whether a process shows that it is something else than a program that was started for that run.

    One that is ending shows nothing: the kernel takes its memory, command line and environment with it, before it becomes
    a zombie, which lasts as long as there is memory to free.
    """
    if was_started_for(pid, run_dir):
        return False
    try:
        # Asked last: whoever shows it now showed it before as well.
        return bool(psutil.Process(pid).cmdline())
    except (psutil.Error, OSError):
        return False


def end_all_of(run_dir: Path, *, patience_s: float = 10.0) -> int:
    """Kill every process that shows that it was started to train that run, and wait for their ends. Returns how many there were.

    For trainers, and the helpers of trainers, whose keeper was killed before it could write down what it had started.
    """
    found = [each for each in psutil.process_iter() if each.pid != os.getpid() and _trains(each, run_dir)]
    for each in found:
        with suppress(psutil.Error):
            each.kill()
    psutil.wait_procs(found, timeout=patience_s)
    return len(found)


def _trains(process: psutil.Process, run_dir: Path) -> bool:
    try:
        return process.environ().get(RUN_VARIABLE) == str(run_dir)
    except (psutil.Error, OSError):
        return False


def lock_holder(file: Path) -> int | None:
    """The process that holds a lock (`flock`) on a file. None where nobody does, and on systems that do not tell (all but Linux)."""
    try:
        inode = os.stat(file).st_ino
        lines = Path("/proc/locks").read_text("ascii", "replace").splitlines()
    except OSError:
        return None
    for line in (
        lines
    ):  # "1: FLOCK  ADVISORY  WRITE 4242 08:01:1234 0 EOF"; those who wait have "->" behind the number
        words = line.split()
        if "->" not in words and len(words) > 5 and words[5].rpartition(":")[2] == str(inode):
            return int(words[4]) if words[4].isdigit() and int(words[4]) > 0 else None
    return None


def boot_id() -> str:
    """Names this boot of this machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return f"boot-{psutil.boot_time():.0f}"


def _same_boot(one: str, other: str) -> bool:
    if one.startswith("boot-") and other.startswith("boot-"):
        return abs(float(one[5:]) - float(other[5:])) < _SAME_BOOT_S
    return one == other


def _start_ticks(pid: int) -> int | None:
    """Field 22 of /proc/<pid>/stat: clock ticks between boot and the process's start (proc_pid_stat(5))."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[19])


def start_detached(argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a child that outlives its parent and the parent's terminal, in a session (Windows: group) of its own."""
    if not WINDOWS:
        return subprocess.Popen(argv, start_new_session=True, **options)
    flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW  # type: ignore[attr-defined]
    try:
        apart = flags | subprocess.CREATE_BREAKAWAY_FROM_JOB  # type: ignore[attr-defined]
        return subprocess.Popen(argv, creationflags=apart, **options)
    except PermissionError:  # the job that we run in forbids leaving it; the child then ends with the job
        return subprocess.Popen(argv, creationflags=flags, **options)


def signal_group(pid: int, how: str) -> bool:
    """Send `interrupt`, `terminate` or `kill` to the group that `pid` leads. False when nobody is there any more.

    Windows knows no soft signals for a process without our console: interrupt is Ctrl-Break, the others end the tree.
    """
    if WINDOWS:
        return _signal_tree_on_windows(pid, how)
    number = {"interrupt": signal.SIGINT, "terminate": signal.SIGTERM, "kill": signal.SIGKILL}[how]
    try:
        os.killpg(pid, number)
        return True
    except (ProcessLookupError, PermissionError):
        return False


def _signal_tree_on_windows(pid: int, how: str) -> bool:
    try:
        process = psutil.Process(pid)
        if how == "interrupt":
            process.send_signal(signal.CTRL_BREAK_EVENT)  # type: ignore[attr-defined]
            return True
        for each in [*process.children(recursive=True), process]:
            each.kill()
        return True
    except psutil.NoSuchProcess:
        return False


def group_members(leader: int) -> list[int]:
    """Pids of the living processes in the group of `leader` other than itself (data loaders, launchers)."""
    if WINDOWS:
        return []
    found = []
    for process in psutil.process_iter():
        try:
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and process.pid != leader and os.getpgid(process.pid) == leader:
                found.append(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError, PermissionError):
            continue
    return found


def describe_exit(code: int | None) -> str:
    """An exit code in words: `exit code 3`, or the signal's name when one ended the process."""
    if code is None:
        return "how it ended is not known"
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
