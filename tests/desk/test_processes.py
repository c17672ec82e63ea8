"""A process is recognised again for certain: not a zombie, not its pid's next owner, not one from before a reboot."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace

import psutil
import pytest

from kohya_bridge import processes
from kohya_bridge.engines.contract import python_module_command
from tests.waiting import wait_until

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def sleeper():
    child = processes.start_detached(SLEEPER)
    yield child
    child.kill()
    child.wait()


def test_a_running_process_lives_and_a_killed_and_reaped_one_does_not(sleeper):
    marked = processes.mark(sleeper.pid)
    assert processes.lives(marked)
    sleeper.kill()
    sleeper.wait()
    assert not processes.lives(marked)


def test_a_zombie_does_not_live(sleeper):
    marked = processes.mark(sleeper.pid)
    os.kill(sleeper.pid, signal.SIGKILL)
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert os.path.exists(f"/proc/{sleeper.pid}"), "nobody has reaped it yet"
    assert not processes.lives(marked)


def test_a_pid_that_was_given_to_another_process_is_not_ours(sleeper):
    marked = processes.mark(sleeper.pid)
    assert not processes.lives(replace(marked, start_ticks=marked.start_ticks - 100))
    assert not processes.lives(replace(marked, start_ticks=None, started=marked.started - 100))


def test_a_corrected_clock_does_not_kill_a_living_process(sleeper):
    marked = processes.mark(sleeper.pid)
    assert processes.lives(replace(marked, started=marked.started + 3600))


def test_nothing_from_before_a_reboot_lives(sleeper):
    marked = processes.mark(sleeper.pid)
    assert not processes.lives(replace(marked, boot_id="8e0cf0b0-0000-0000-0000-000000000000"))


def test_a_process_that_is_ending_is_nobody_elses(tmp_path):
    """While the kernel frees its memory it still lives and shows neither command line nor environment any more."""
    program = "import os; memory = bytearray(os.urandom(1 << 20) * 300); os._exit(0)"
    shown = {processes.RUN_VARIABLE: str(tmp_path)}
    bare, until = 0, time.monotonic() + 60
    while not bare:  # on a busy machine this process may have to wait just then
        assert time.monotonic() < until, "the moment was never met"
        child = processes.start_detached([sys.executable, "-c", program], env={**os.environ, **shown})
        marked = processes.mark(child.pid)
        while processes.lives(marked):
            assert not processes.works_for_another(child.pid, tmp_path)
            with suppress(psutil.Error):
                bare += not psutil.Process(child.pid).cmdline()
        child.wait()


def test_a_process_that_was_started_for_something_else_works_for_another(sleeper, tmp_path):
    assert processes.works_for_another(sleeper.pid, tmp_path)


def test_a_detached_child_leads_a_session_of_its_own(sleeper):
    assert os.getsid(sleeper.pid) == sleeper.pid != os.getsid(0)


def test_killing_a_group_reaches_the_grandchildren():
    script = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen({SLEEPER!r}); print(child.pid, flush=True); time.sleep(60)"
    )
    leader = processes.start_detached([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    grandchild = int(leader.stdout.readline())
    marked = processes.mark(grandchild)
    assert processes.group_members(leader.pid) == [grandchild]
    processes.signal_group(leader.pid, "kill")
    leader.wait()
    leader.stdout.close()
    wait_until(lambda: not processes.lives(marked))


@pytest.mark.parametrize(
    ("code", "words"), [(7, "exit code 7"), (-9, "killed by SIGKILL"), (None, "how it ended is not known")]
)
def test_an_exit_code_is_told_in_words(code, words):
    assert processes.describe_exit(code) == words


def test_a_module_is_found_by_an_interpreter_that_ignores_its_environment(tmp_path):
    """`-I` stands for the embedded Python of ComfyUI's portable build."""
    command = python_module_command("kohya_bridge", "--help", isolated=True)
    python, *rest = command.argv
    answer = subprocess.run([python, "-I", *rest], cwd=tmp_path, capture_output=True, text=True)
    assert "python -m kohya_bridge" in answer.stdout, answer.stderr
