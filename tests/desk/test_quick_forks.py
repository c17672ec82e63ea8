"""A forked keeper and its trainer are to the system what started ones are."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from kohya_bridge import processes
from tests import quick_forks
from tests.desk.conftest import request
from tests.doubles.quick_engine import QuickEngine
from tests.waiting import wait_until

OF_THE_C_LIBRARY = 0b11 << 31  # signals 32 and 33, caught from the moment when a process first makes a thread
FEW = 10  # a keeper alone imports 350 modules
pytestmark = pytest.mark.skipif(
    not quick_forks.FORKS, reason="a process may rewrite what /proc shows of it on Linux"
)


@pytest.fixture
def shown(desk_with, monkeypatch):
    """`shown(start)`: what the system shows of a keeper and of its trainer where keepers are started by that function."""
    desk = desk_with(QuickEngine(seconds_per_step=0.05))

    def of_run(start):
        monkeypatch.setattr(processes, "start_detached", start)
        run = desk.submit(request(settings={"max_train_steps": 400}))  # the second time it goes on
        before = run.state().step
        wait_until(lambda: run.state().step >= before + 2)
        identity = run.identity()
        found = [what_is_shown(pid) for pid in (identity.keeper["pid"], identity.pid)]
        desk.stop(run.run_id)
        desk.wait(run.run_id, poll_s=0.02)
        return found

    return of_run


def what_is_shown(pid):
    process = psutil.Process(pid)
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {
        "command line": [word for word in process.cmdline() if word],
        "environment": process.environ(),
        "program": process.exe(),
        "folder": process.cwd(),
        "threads": process.num_threads(),
        "leads": (os.getsid(pid) == pid, os.getpgid(pid) == pid),
        "streams": [os.stat(f"/proc/{pid}/fd/{number}").st_mode for number in (0, 2)],
        "pipes and sockets": sum(not link.startswith("/") for link in open_files(pid)),
        "umask": status["Umask"],
        **{name: int(status[name], 16) & ~OF_THE_C_LIBRARY for name in ("SigBlk", "SigIgn", "SigCgt")},
    }


def open_files(pid):
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            yield os.readlink(each)


def test_the_system_shows_of_forked_processes_what_it_shows_of_started_ones(shown, monkeypatch):
    monkeypatch.setenv("SOMEBODYS", "own")
    before = os.umask(0o027)
    try:
        forked, started = shown(quick_forks._start_keeper), shown(quick_forks._start_for_real)
    finally:
        os.umask(before)
    for one, other in zip(forked, started, strict=True):
        for name in one:
            assert (name, one[name]) == (name, other[name])
    assert forked[0]["environment"]["SOMEBODYS"] == "own" and forked[1]["umask"] == "0027"


def test_they_import_next_to_nothing_anew(desk, monkeypatch, tmp_path):
    """Else the list in `quick_forks.py` has gone stale."""
    monkeypatch.setenv(quick_forks.TELL, str(tmp_path))
    run = desk.submit(request())
    desk.wait(run.run_id, poll_s=0.02)
    lists = wait_until(lambda: len(found := list(tmp_path.glob("imported-*"))) == 2 and found)
    for each in lists:
        names = each.read_text().split()
        assert len(names) < FEW, names
