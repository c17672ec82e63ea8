"""What differs between Linux, macOS and Windows, tried here on fakes of the other systems' rules; docs/systems.md lists it."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path, PureWindowsPath

import psutil
import pytest
from PIL import Image

from kohya_bridge import console, disk, processes
from kohya_bridge.cli.output import Output
from kohya_bridge.dataset import export_pictures
from kohya_bridge.engines.child import Reporter
from kohya_bridge.errors import InvalidInput, StorageError, UnusableFile
from kohya_bridge.event_reader import read_events
from kohya_bridge.events import EventLog
from kohya_bridge.files import Tree
from kohya_bridge.moving import move_between
from kohya_bridge.second_names import give_second_name
from kohya_bridge.workspace import PACK_ROOT, Workspace, check_slug

# --- rename and delete over an open file ---------------------------------------------------------------------------------


class WindowsRules:
    """A file layer that refuses to replace, rename or delete what this process has open, or a folder with such a file in it."""

    def __init__(self, monkeypatch):
        for name in ("replace", "rename", "unlink", "remove", "rmdir"):
            monkeypatch.setattr(os, name, self._guarded(getattr(os, name)))
        monkeypatch.setattr(disk, "on_windows", True)
        monkeypatch.setattr(disk, "PATIENCE_S", 0.05)

    def _guarded(self, real):
        def call(*paths, **options):
            for path in paths:
                if "dir_fd" not in options and self._is_open(os.fspath(path)):
                    raise PermissionError(errno.EACCES, "The process cannot access the file", os.fspath(path))
            return real(*paths, **options)

        return call

    def _is_open(self, path: str) -> bool:
        path = os.path.abspath(path)
        for handle in os.listdir("/proc/self/fd"):
            try:
                there = os.readlink(f"/proc/self/fd/{handle}")
            except OSError:
                continue
            if there == path or there.startswith(f"{path}/"):
                return True
        return False


@pytest.fixture
def windows_rules(monkeypatch):
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("this system does not tell what is open")
    return WindowsRules(monkeypatch)


def test_the_fake_refuses_what_windows_refuses(windows_rules, tmp_path):
    (tmp_path / "x").write_text("old")
    with open(tmp_path / "x"), pytest.raises(PermissionError):
        os.unlink(tmp_path / "x")
    os.unlink(tmp_path / "x")


def test_a_record_that_somebody_holds_open_is_told_and_stays(windows_rules, tmp_path):
    tree = Tree(tmp_path)
    tree.write("run.json", "old")
    with tree.open("run.json"), pytest.raises(UnusableFile, match=r"run\.json could not be written"):
        tree.write("run.json", "new")
    assert tree.read_text("run.json") == "old"
    tree.write("run.json", "new")
    assert [each.name for each in tree.entries()] == ["run.json"]


def test_events_are_written_while_they_are_read(windows_rules, tmp_path):
    log = EventLog(tmp_path / "events.jsonl")
    log.write("phase", name="loading")
    reading = read_events(tmp_path / "events.jsonl")
    assert next(reading)["kind"] == "phase"
    log.write("phase", name="training")
    assert next(reading)["name"] == "training"
    log.close()


def test_a_trainer_saves_checkpoints_and_states_without_an_open_file_in_its_way(windows_rules, tmp_path):
    report = Reporter(tmp_path, keep_states=1)
    report.started(engine="native", total=8)
    for step in (4, 8):
        written = Tree(tmp_path).write("checkpoints/.writing", f"weights {step}")
        report.checkpoint(written, step, name="wren", final=step == 8)
        with report.state_folder(step) as folder:
            Tree(folder).write("state.json", "{}")
        report.state(step)
    report.finished("completed")
    assert [each.name for each in Tree(tmp_path).entries("states")] == ["step00000008"]
    assert (tmp_path / "losses.json").is_file()


def test_pictures_are_exported_appended_and_replaced(windows_rules, tmp_path):
    workspace = Workspace.at(tmp_path)
    for mode, shade in (("append", 10), ("append", 90), ("replace", 200)):
        export_pictures(workspace, "wren", [Image.new("RGB", (8, 8), (shade, 0, 0))], ["wren"], mode=mode)
    assert len(Tree(workspace.dataset_dir("wren")).entries("images")) == 1


def test_a_run_that_somebody_has_open_is_not_half_deleted(windows_rules, tmp_path):
    run, trash = Tree(tmp_path / "runs"), Tree(tmp_path / "trash")
    run.write("one/train.log", "log")
    run.write("one/plan.yaml", "plan")
    with run.open("one/train.log"), pytest.raises(StorageError, match="could not be moved") as told:
        move_between(run, "one", trash, "one/run")
    assert "Close" in told.value.fix
    assert [each.name for each in run.entries("one")] == ["plan.yaml", "train.log"]
    move_between(run, "one", trash, "one/run")


# --- links ---------------------------------------------------------------------------------------------------------------


def refuse(*arguments: object) -> None:
    raise OSError(errno.EPERM, "A required privilege is not held by the client")


@pytest.mark.parametrize("also", ([], ["link"]))
def test_where_links_need_a_privilege_the_best_checkpoint_is_there_all_the_same(monkeypatch, tmp_path, also):
    tree = Tree(tmp_path)
    tree.write("checkpoints/a.safetensors", "weights")
    for name in ("symlink", *also):
        monkeypatch.setattr(os, name, refuse)
    assert give_second_name(
        tree.plain("checkpoints/a.safetensors"), tmp_path / "best.safetensors", inside=tree
    )
    assert (
        tree.read_text("best.safetensors") == "weights" and not (tmp_path / "best.safetensors").is_symlink()
    )


# --- names ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ("con", "nul", "aux", "com1", "lpt9", "a.", "a b", "a:b", "Wren", "a/b", "a\\b")
)
def test_names_that_another_system_would_not_take_are_refused_everywhere(name):
    with pytest.raises(InvalidInput):
        check_slug(name)


def test_the_longest_names_fit_into_the_paths_of_windows():
    """260 letters, of which 50 are left for where ComfyUI lies, and the names are as long as they may be."""
    slug, run = "c" * 64, "0123456789ab"
    inside = f"runs/{slug}/{run}/checkpoints/{slug}-step00000200-01234567.safetensors"
    longest = PureWindowsPath("C:/") / ("x" * 47) / "training" / inside
    assert len(str(longest)) < 260


def test_times_in_names_hold_no_letter_that_windows_forbids():
    assert not set(time.strftime("%Y%m%d-%H%M%S")) & set('<>:"/\\|?*')


# --- consoles ------------------------------------------------------------------------------------------------------------


def test_a_console_in_cp1252_shows_what_it_can(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="cp1252", errors="strict"))
    console.let_streams_show_anything()
    Output(as_json=False).say("Zoë Жук 貓")
    sys.stdout.flush()
    assert raw.getvalue().decode("cp1252").strip() == "Zoë ??? ?"


@pytest.mark.parametrize("encoding", ("cp1252", "utf-8", "ascii"))
def test_json_loses_no_letter_on_any_console(monkeypatch, encoding):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, errors="strict"))
    Output(as_json=True).emit({"trigger": "Zoë Жук 貓"})
    sys.stdout.flush()
    assert json.loads(raw.getvalue().decode(encoding)) == {"trigger": "Zoë Жук 貓"}


def test_a_verb_ends_well_on_such_a_console(tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "kohya_bridge", "runs", "貓", "--workspace", str(tmp_path)]
    answer = subprocess.run(command, cwd=PACK_ROOT, env=environment, capture_output=True)
    assert b"UnicodeEncodeError" not in answer.stderr and b"Traceback" not in answer.stderr


# --- processes -----------------------------------------------------------------------------------------------------------


class FakePopen:
    """Takes down how children are started; the first `refusals` starts are refused as a job forbids them."""

    def __init__(self, refusals: int):
        self.refusals, self.flags = refusals, []

    def __call__(self, argv, **options):
        self.flags.append(options["creationflags"])
        if len(self.flags) <= self.refusals:
            raise PermissionError(5, "Access is denied")
        return "child"


@pytest.mark.parametrize("refusals", (0, 1))
def test_on_windows_a_child_leaves_our_job_where_it_may_and_starts_in_any_case(monkeypatch, refusals):
    popen = FakePopen(refusals)
    monkeypatch.setattr(processes, "WINDOWS", True)
    monkeypatch.setattr(subprocess, "Popen", popen)
    for name, value in (
        ("CREATE_NEW_PROCESS_GROUP", 1),
        ("CREATE_NO_WINDOW", 2),
        ("CREATE_BREAKAWAY_FROM_JOB", 4),
    ):
        monkeypatch.setattr(subprocess, name, value, raising=False)
    assert processes.start_detached(["x"]) == "child"
    assert popen.flags == [7, 3][: refusals + 1]


class FakeProcess:
    """A process with two children, as psutil shows it on Windows."""

    def __init__(self, pid: int):
        self.pid, self.said = pid, []

    def children(self, recursive: bool):
        return [self, self]

    def kill(self):
        self.said.append("kill")

    def send_signal(self, number):
        self.said.append(number)


@pytest.mark.parametrize(
    "how, said", (("interrupt", ["break"]), ("terminate", ["kill"] * 3), ("kill", ["kill"] * 3))
)
def test_on_windows_interrupt_is_ctrl_break_and_the_rest_ends_the_whole_tree(monkeypatch, how, said):
    process = FakeProcess(7)
    monkeypatch.setattr(processes, "WINDOWS", True)
    monkeypatch.setattr(psutil, "Process", lambda pid: process)
    monkeypatch.setattr(signal, "CTRL_BREAK_EVENT", "break", raising=False)
    assert processes.signal_group(7, how)
    assert process.said == said


def test_signals_to_a_process_that_is_gone_are_no_error_on_windows(monkeypatch):
    def gone(pid):
        raise psutil.NoSuchProcess(pid)

    monkeypatch.setattr(processes, "WINDOWS", True)
    monkeypatch.setattr(psutil, "Process", gone)
    assert not processes.signal_group(7, "kill")
    assert processes.group_members(7) == []


def test_without_proc_a_boot_is_known_by_its_time(monkeypatch):
    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr(psutil, "boot_time", lambda: 1_700_000_000.4)
    assert processes.boot_id() == "boot-1700000000"
    assert processes._start_ticks(os.getpid()) is None
    assert processes.lives(processes.mark(os.getpid()))


WITHOUT_POSIX = """
import os, signal, subprocess, multiprocessing, tempfile, shutil, pathlib, asyncio, psutil, filelock
for name in ("fork", "forkpty", "waitid", "killpg", "getpgid", "setsid", "mkfifo", "getuid", "geteuid", "O_NOFOLLOW", "O_NONBLOCK"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGKILL", "SIGHUP", "SIGUSR1", "SIGCHLD"):
    if hasattr(signal, name):
        delattr(signal, name)
import sys
for name in ("fcntl", "pwd", "grp", "termios", "resource"):
    sys.modules[name] = None
import kohya_bridge.desk, kohya_bridge.keeper, kohya_bridge.engines.child, kohya_bridge.__main__
from kohya_bridge.files import Tree
tree = Tree(pathlib.Path(tempfile.mkdtemp()))
tree.write("a/b", "c")
assert tree.read_text("a/b") == "c" and tree.clear("a")
"""


def test_the_pack_loads_and_writes_where_there_is_no_fork_and_no_posix_signal():
    answer = subprocess.run(
        [sys.executable, "-c", WITHOUT_POSIX], cwd=PACK_ROOT, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
