"""Durable operations, counted from outside: whatever a process does to the files of a folder, and a death at the n-th of them.

In: a `Fault` (which folder, which operation, how to fail). Out: a log with a line for each operation, and the process killed, or
its disk full, at the one that is asked for. It hangs on Python's audit hooks and on unbuffered files, so nothing that is tried
needs to know of it, and no list of operations is kept by hand. Linux, standard library only: every interpreter loads it.

    operation 1 .. at - 1    done
    operation at             not done ("kill", "kill_all"), half written ("tear"), or refused (`REFUSALS`: for lack of space, ...)
    operations after it      none, or refused likewise (the disk stays full until the process has ended)
"""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

VARIABLE = "CHAOS_FAULT"
REFUSALS = {
    "full": errno.ENOSPC,
    "read-only": errno.EROFS,
    "denied": errno.EACCES,
    "broken": errno.EIO,
    "over quota": errno.EDQUOT,
}
WAYS = ("kill", "tear", "kill_all", *REFUSALS)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_UNCOUNTED = (".lock",)  # lock files hold nothing
_NEEDS_SPACE = ("open", "append", "os.mkdir", "os.symlink", "os.link", "os.rename")


@dataclass(frozen=True)
class Fault:
    """Where and how a process fails. `role` is a part of its command line; `at` 0 only counts."""

    root: str
    log: str
    role: str = ""
    at: int = 0
    how: str = "kill"

    def environment(self) -> dict[str, str]:
        """What makes every Python process below it obey this fault, for the environment of a child."""
        injected = str(Path(__file__).with_name("injected"))
        path = os.pathsep.join(filter(None, [injected, os.environ.get("PYTHONPATH", "")]))
        return {VARIABLE: json.dumps(asdict(self)), "PYTHONPATH": path}

    def operations(self) -> list[str]:
        """What was done so far, one line each: `<operation> <path below root>`."""
        file = Path(self.log)
        return file.read_text("utf-8").splitlines() if file.is_file() else []


def install_from_environment() -> None:
    """Obey the fault that the environment names, if this process plays its role."""
    told = os.environ.get(VARIABLE)
    if told:
        fault = Fault(**json.loads(told))
        if fault.role in " ".join(sys.orig_argv):
            install(fault)


def install(fault: Fault) -> None:
    """Count from now on in this process. It can't be undone."""
    counter = _Counter(fault)
    sys.addaudithook(counter.hear)

    class Counted(io.FileIO):
        """A file without a buffer, such as the events': each write that appends is an operation."""

        def write(self, data: Any) -> int:
            if "a" in self.mode or "+" in self.mode:
                half = bytes(data)[: len(data) // 2]
                path = os.readlink(f"/proc/self/fd/{self.fileno()}")
                counter.count("append", path, torn=lambda: super(Counted, self).write(half))
            return super().write(data) or 0

    io.FileIO = Counted  # type: ignore[misc]


class _Counter:
    def __init__(self, fault: Fault):
        self.fault = fault
        self.root = os.path.realpath(fault.root) + os.sep
        self.done = 0
        self._log = os.open(fault.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._busy = False
        self._main = os.getpid()

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """The audit hook. What it raises, the operation raises."""
        if event == "open":
            path, _, flags = arguments
            appending = flags & os.O_APPEND  # counted at each write
            if flags & _WRITING and not appending and not isinstance(path, int):
                self.count("open", path)
        elif event in ("os.rename", "os.link", "os.symlink"):
            self.count(event, arguments[1], arguments[-1])
        elif event == "os.mkdir" and os.path.isdir(arguments[0]):
            pass  # made sure of, not made
        elif event in ("os.remove", "os.rmdir", "os.mkdir"):
            self.count(event, arguments[0], arguments[-1])
        elif event == "os.truncate":
            self.count(event, arguments[0])
        elif event == "subprocess.Popen":
            self.count(event, os.path.join(self.root, os.path.basename(str(arguments[0]))))

    def count(self, what: str, path: Any, folder: int = -1, *, torn: Any = None) -> None:
        if self._busy or os.getpid() != self._main:
            return
        absolute = "" if isinstance(path, int) else self._absolute(path, folder)
        if not absolute.startswith(self.root) or absolute.endswith(_UNCOUNTED):
            return
        self._busy = True
        try:
            self.done += 1
            if self.fault.at and self.done >= self.fault.at:
                self._fail(what, torn)
            os.write(self._log, f"{what} {absolute[len(self.root) :]}\n".encode())
        finally:
            self._busy = False

    def _fail(self, what: str, torn: Any) -> None:
        refusal = REFUSALS.get(self.fault.how)
        if refusal is not None:
            if what in _NEEDS_SPACE or refusal not in (errno.ENOSPC, errno.EDQUOT):
                raise OSError(refusal, os.strerror(refusal))
            return
        if self.done > self.fault.at:
            return
        if self.fault.how == "tear" and torn:
            torn()
        if self.fault.how == "kill_all":
            for each in _relatives():
                os.kill(each, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    @staticmethod
    def _absolute(path: Any, folder: int = -1) -> str:
        text = os.fsdecode(path)
        if folder is not None and folder >= 0 and not os.path.isabs(text):
            text = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), text)
        parent, name = os.path.split(os.path.abspath(text))
        return os.path.join(os.path.realpath(parent), name)


def _relatives() -> list[int]:
    """The keeper of a trainer, and the trainer of a keeper: parent and children that run this pack."""
    near = [os.getppid()]
    for task in os.listdir("/proc/self/task"):
        near += map(int, Path(f"/proc/self/task/{task}/children").read_text("ascii").split())
    return [each for each in near if b"kohya_bridge" in Path(f"/proc/{each}/cmdline").read_bytes()]
