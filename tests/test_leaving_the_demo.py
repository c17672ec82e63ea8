"""Ctrl-C at any moment ends all that the demo started, and what a person reads on the way. With real processes, but for ComfyUI."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import save_file

from kohya_bridge.run_folder import RunFolder
from kohya_bridge.workspace import PACK_ROOT, Workspace
from scripts.demo_base.assemble import DIGEST_KEY, is_current, packed_digest
from scripts.demo_workflow import BASE_MODEL
from scripts.host.comfy_host import MARK

DOUBLE = Path(__file__).parent / "doubles" / "comfyui"
BEGUN = {"starting": "Starting ComfyUI", "training": "Kohya Train", "rendering": "LoRA Validate Grid"}

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends signals as POSIX systems know them")


@pytest.fixture
def demo(tmp_path):
    """`demo(how_far)` starts the demo on the double, its output into a file; `demo(how_far, through="make")` as `make demo` does."""
    base = tmp_path / "comfy"
    model = base / "models" / "checkpoints" / BASE_MODEL
    model.parent.mkdir(parents=True)
    save_file({"none": np.zeros(1, np.float32)}, model, metadata={DIGEST_KEY: packed_digest()})
    command = [sys.executable, "-m", "scripts.demo", "--base", str(base)]
    makefile = tmp_path / "Makefile"
    makefile.write_text(f"demo:\n\t@{' '.join(command)}\n")
    started = []

    def start(how_far, through="python", has_model=True):
        if not has_model:
            model.unlink()
        environment = {**os.environ, "COMFYUI_DIR": str(DOUBLE), "COMFYUI_PYTHON": sys.executable, "COMFYUI_DOUBLE": how_far,
                       "PYTHONPATH": str(PACK_ROOT), "WIZDROID_KEY_DIR": str(tmp_path / "key")}  # fmt: skip
        argv = ["make", "-f", str(makefile), "demo"] if through == "make" else command
        with open(tmp_path / "output.txt", "ab") as output:
            child = subprocess.Popen(argv, cwd=PACK_ROOT, env=environment, stdout=output, stderr=output, start_new_session=True)  # fmt: skip
        started.append(child)
        child.base, child.output = base, tmp_path / "output.txt"
        return child

    yield start
    for each in started:
        if each.poll() is None:
            os.killpg(each.pid, signal.SIGKILL)
    for each in left_of(base):
        each.kill()


def left_of(base):
    """The living processes that the demo on that folder started."""
    found = []
    for each in psutil.process_iter():
        try:
            if each.status() != psutil.STATUS_ZOMBIE and each.environ().get(MARK) == f"demo {base.resolve()}":
                found.append(each)
        except (psutil.Error, OSError):
            continue
    return found


def wait_for(condition, *, what, seconds=120):
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, what
        time.sleep(0.05)
    return found


def under_way(demo_process, how_far):
    wait_for(
        lambda: demo_process.poll() is not None or BEGUN[how_far] in demo_process.output.read_text(),
        what=f"the demo came to: {how_far}",
    )
    assert demo_process.poll() is None, demo_process.output.read_text()
    if how_far == "training":
        wait_for(lambda: any(run.state().step >= 2 for run in runs(demo_process)), what="two steps")
    wait_for(lambda: left_of(demo_process.base), what="it has started something")


def runs(demo_process):
    return [RunFolder(each) for each in Workspace.at(demo_process.base / "training").run_dirs()]


@pytest.mark.parametrize(
    ("how_far", "number"),
    [("starting", "SIGINT"), ("training", "SIGINT"), ("training", "SIGTERM"), ("rendering", "SIGHUP")],
)
def test_whatever_it_is_at_nothing_that_it_started_is_left(demo, how_far, number):
    child = demo(how_far)
    under_way(child, how_far)
    began = time.monotonic()
    child.send_signal(getattr(signal, number))
    code = child.wait(timeout=60)
    assert left_of(child.base) == [], child.output.read_text()
    assert time.monotonic() - began < 10
    assert code == 128 + getattr(signal, number)
    said = child.output.read_text()
    assert "\x1b" not in said, "a file gets nothing that only a terminal understands"
    assert all(re.match(r" *\d+ s  \S", line) for line in said.splitlines()), said
    assert re.search(r"All of it has ended, after \d\.\d s\..*`make demo` goes on from here\.", said), said
    if how_far == "training":
        (run,) = runs(child)
        state = run.state()
        assert state.status == "stopped" and state.states[-1]["step"] == state.step >= 2
        assert f"The training keeps its {state.step} steps." in said


def test_a_base_model_that_is_being_made_meanwhile_is_there_whole_or_not_at_all(demo):
    child = demo("starting", has_model=False)
    under_way(child, "starting")
    child.send_signal(signal.SIGINT)
    assert child.wait(timeout=60) == 130
    assert left_of(child.base) == [], child.output.read_text()
    model = child.base / "models" / "checkpoints" / BASE_MODEL
    assert not model.exists() or is_current(model)
    said = child.output.read_text()
    assert "putting the demo's base model together" in said and "Traceback" not in said


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
def test_through_make_a_ctrl_c_that_reaches_both_does_the_same(demo):
    child = demo("training", through="make")
    under_way(child, "training")
    os.killpg(child.pid, signal.SIGINT)
    child.wait(timeout=60)
    wait_for(lambda: left_of(child.base) == [], what="nothing is left", seconds=10)
    (run,) = runs(child)
    assert run.state().status == "stopped"
    assert "`make demo` goes on from here." in child.output.read_text()


def test_an_impatient_second_ctrl_c_changes_nothing(demo):
    child = demo("training")
    under_way(child, "training")
    for _ in range(3):
        child.send_signal(signal.SIGINT)
        time.sleep(0.2)
    assert child.wait(timeout=60) == 130
    assert left_of(child.base) == [], child.output.read_text()
    assert "Traceback" not in child.output.read_text()


def test_a_trainer_that_an_earlier_demo_left_is_ended_too(demo):
    """That demo was killed, and could not end anything itself."""
    killed = demo("training")
    under_way(killed, "training")
    killed.kill()
    killed.wait()
    assert left_of(killed.base)
    child = demo("starting")
    wait_for(lambda: child.output.read_text().count(BEGUN["starting"]) == 2, what="the second demo starts")
    child.send_signal(signal.SIGINT)
    child.wait(timeout=60)
    assert left_of(child.base) == [], child.output.read_text()
