"""Keepers and quick trainers forked from a Python that has imported already what they import: most of a quick run's processor time.

Such a process differs from a started one in the seconds of those imports alone: its pid, session, signals, folder, environment, streams and
exit code are as there, and so is what the system shows of it (`/proc/PID/cmdline`, `environ`), as the supervisor believes nothing else. Linux
only, where a process may rewrite that; elsewhere, and where a test asks for `started_for_real`, they are started as for a person.

A keeper is forked by a server that each test process has for itself, a trainer by its keeper, whose child it has to be.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from kohya_bridge import processes
from kohya_bridge.engines.contract import python_module_command
from kohya_bridge.supervisor import KEEPER
from tests.doubles.quick_engine import TRAINER

FORKS = sys.platform == "linux"
IMPORTED = (
    "kohya_bridge.keeper",
    "kohya_bridge.steering.slot",
    "kohya_bridge.steering.starting",
    "kohya_bridge.engines.native.engine",
    "kohya_bridge.engines.kohya.engine",
    "tests.doubles.quick_engine",
    "tests.doubles.quick_trainer",
)
"""What keepers and trainers import. They are run anew under the name `__main__`, as `python -m` does."""
TELL = "TELL_IMPORTS_IN"
"""In the environment of a forked process: the folder where it leaves a list of what it has imported anew."""
ROOM = 1 << 16
"""Bytes for the command line of a forked process, and as many for its environment."""
_start_for_real = processes.start_detached
_server_address = ""  # in the server and all that it forks


@pytest.fixture(autouse=FORKS)
def forked_starts(request, monkeypatch):
    """Keepers and quick trainers of a test are forked, unless it asks for `started_for_real`."""
    if "started_for_real" not in request.keywords:
        monkeypatch.setattr(processes, "start_detached", _start_keeper)


class Forked:
    """A process that another one has forked, with what a supervisor asks of a `Popen`."""

    def __init__(self, pid: int, *, stdin: Any = None, stdout: Any = None):
        self.pid, self.stdin, self.stdout = pid, stdin, stdout
        try:
            self._handle: int | None = os.pidfd_open(pid)
        except ProcessLookupError:
            self._handle = None

    def poll(self) -> int | None:
        """None while it lives. How it ended is told to the server alone."""
        if self._handle is None:
            return 0
        if not select.select([self._handle], [], [], 0)[0]:
            return None
        os.close(self._handle)
        self._handle = None
        return 0


class Child:
    """A process that this one has forked, with what a keeper asks of a `Popen`."""

    def __init__(self, pid: int):
        self.pid = pid

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def _start_keeper(argv: Sequence[str], **options: Any) -> Any:
    """`processes.start_detached` for a test and for a keeper: a keeper is forked by the server, everything else started."""
    if list(argv[:3]) != [sys.executable, "-m", KEEPER]:
        return _start_for_real(argv, **options)
    told = {**_told(argv, options), "umask": _umask()}
    ours, theirs = os.pipe(), os.pipe()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(_server_address or _server())
        socket.send_fds(server, [b"!"], [ours[0], theirs[1], options["stderr"].fileno()])
        server.sendall(json.dumps(told).encode())
        server.shutdown(socket.SHUT_WR)
        for number in (ours[0], theirs[1]):
            os.close(number)
        pid = int(server.makefile().read())
    return Forked(pid, stdin=open(ours[1], "wb"), stdout=open(theirs[0], "rb"))


def _start_trainer(argv: Sequence[str], **options: Any) -> Any:
    """`processes.start_detached` for a keeper: a quick trainer is forked from it."""
    if list(argv[:2]) != [sys.executable, str(TRAINER)]:
        return _start_keeper(argv, **options)
    os.stat(options["cwd"])  # raises here what `Popen` raises
    shown, showing = os.pipe()
    with open(os.devnull, "rb") as nothing:
        log = options["stdout"].fileno()
        pid = os.fork()
        if not pid:
            _become(
                _told(argv, options),
                (nothing.fileno(), log, log),
                showing,
                "tests.doubles.quick_trainer",
                argv[2:],
            )
    os.close(showing)
    os.read(shown, 1)  # until its command line can be seen
    os.close(shown)
    return Child(pid)


def _told(argv: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    return {"argv": list(argv), "cwd": str(options["cwd"]), "environment": dict(options["env"])}


def _umask() -> int:
    """This process's; asked of the system, as `os.umask` would change it for the other threads."""
    status = Path("/proc/self/status").read_text("utf-8", "replace")
    return int(status.partition("\nUmask:")[2].split()[0], 8)


# --- the server ------------------------------------------------------------------------------------------------------


@functools.cache
def _server() -> str:
    """The address of this process's server, which ends with this process."""
    address = os.path.join(tempfile.mkdtemp(prefix="forks-"), "server")
    command = python_module_command("tests.quick_forks", address, "." * ROOM)
    environment = {**os.environ, **command.environment, "ROOM": "." * ROOM}
    server = subprocess.Popen(
        command.argv, cwd=command.cwd, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    assert server.stdout is not None and server.stdout.readline() == b"ready\n"
    return address


def serve(address: str) -> None:
    """Fork whom is asked for, until the one who started this has ended."""
    global _server_address
    _server_address = address
    for name in IMPORTED:
        importlib.import_module(name)
    for name in (KEEPER, "tests.doubles.quick_trainer"):
        del sys.modules[name]  # they are run, not imported
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system collects them
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(address)
        door.listen(64)
        print("ready", flush=True)
        while sys.stdin.fileno() not in select.select([door, sys.stdin.fileno()], [], [])[0]:
            with door.accept()[0] as asking:
                _answer(asking)
    os.unlink(address)
    os.rmdir(os.path.dirname(address))


def _answer(asking: socket.socket) -> None:
    streams = socket.recv_fds(asking, 1, 3)[1]
    with asking.makefile("rb") as words:
        told = json.load(words)
    if not os.fork():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.umask(told["umask"])
        processes.start_detached = _start_trainer
        _become(told, streams, asking.fileno(), KEEPER, told["argv"][3:])
    for number in streams:
        os.close(number)


# --- in the forked process -------------------------------------------------------------------------------------------


def _become(
    told: Mapping[str, Any], streams: Sequence[int], ready: int, module: str, arguments: Sequence[str]
) -> None:
    """What follows an `exec`: nothing of the process before is left but what it has imported. Writes its pid to `ready`."""
    code = 1
    try:
        os.setsid()
        os.chdir(told["cwd"])
        _take_streams(streams, spared=ready)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(told["environment"])
        _show(told["argv"], told["environment"])
        os.write(ready, str(os.getpid()).encode())
        os.close(ready)
        sys.argv = [module, *arguments]
        had = set(sys.modules)
        code = _run(module)
        if TELL in os.environ:
            new = "\n".join(sorted(set(sys.modules) - had))
            Path(os.environ[TELL], f"imported-{os.getpid()}").write_text(new, "utf-8")
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(BaseException):
            atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        os._exit(code)


def _run(module: str) -> int:
    """Run a module as `python -m` does. Returns its exit code."""
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    return 0


def _take_streams(streams: Sequence[int], *, spared: int) -> None:
    """What Python makes of its streams with `PYTHONUTF8` and `PYTHONUNBUFFERED`, which the server was started with."""
    for target, number in enumerate(streams):
        os.dup2(number, target)
    os.closerange(3, spared)
    os.closerange(spared + 1, os.sysconf("SC_OPEN_MAX"))
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(write_through=True)


def _show(argv: Sequence[str], environment: Mapping[str, str]) -> None:
    """Let `/proc` show this command line and environment, in the place where the kernel laid down those of the start (proc_pid_stat(5))."""
    stat = Path("/proc/self/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    places = [int(each) for each in stat[45:49]]
    shown = (argv, [f"{name}={value}" for name, value in environment.items()])
    for words, begin, end in zip(shown, places[::2], places[1::2], strict=True):
        text = b"".join(os.fsencode(word) + b"\0" for word in words)
        assert len(text) < end - begin, "ROOM is too small"
        ctypes.memset(begin, 0, end - begin)
        ctypes.memmove(begin, text, len(text))


if __name__ == "__main__":
    serve(sys.argv[1])
