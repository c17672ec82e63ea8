"""What `make demo` queues, and the picture that it ends with."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import psutil
import pytest
from PIL import Image

from kohya_bridge.dataset import dataset_digest, export_pictures
from kohya_bridge.errors import Unavailable
from kohya_bridge.plan import BaseModelFacts, DatasetFacts, TrainingRequest, make_plan
from kohya_bridge.run_folder import RunFolder
from kohya_bridge.validation.cells import Checkpoint, Prompt, plan_cells
from kohya_bridge.validation.judge import judge
from kohya_bridge.validation.likeness import ThumbnailEncoder
from kohya_bridge.validation.manifest import Sampling
from kohya_bridge.workspace import PACK_ROOT, Workspace
from scripts.demo_grid import before_and_after
from scripts.demo_progress import Follower, Lines
from scripts.demo_workflow import SETTINGS, WORKFLOW_FILE, demo_workflow
from scripts.host.comfy_host import ComfyHost
from scripts.host.leaving import wait_for

SAMPLING = Sampling(
    sampler="euler", scheduler="normal", steps=4, cfg=4, width=64, height=64, base_model="base"
)
COLOURS = {0: "red", 100: "green", 200: "blue"}


def test_the_demo_is_the_example_workflow_with_other_numbers():
    shipped, queued = json.loads(WORKFLOW_FILE.read_text("utf-8")), demo_workflow()
    assert queued.keys() == {*shipped, "15"}
    for name, node in shipped.items():
        assert queued[name]["inputs"].keys() - {"settings"} == node["inputs"].keys()
    (grid,) = [each["inputs"] for each in queued.values() if each["class_type"] == "WizdroidLoraValidateGrid"]
    (train,) = [each["inputs"] for each in queued.values() if each["class_type"] == "WizdroidKohyaTrain"]
    shown = [int(step) for step in grid["checkpoints"].split(", ")]
    every = SETTINGS["save_every_n_steps"]
    assert shown == list(range(every, train["steps"] + 1, every)), "what is saved is what is shown"
    assert SETTINGS["validate_every_n_steps"] == every


@pytest.fixture
def world(tmp_path):
    """A run with a grid of plain colours: red without LoRA, green and blue with one."""
    workspace = Workspace.at(tmp_path / "training")
    own = [Image.new("RGB", (80, 80), (250, 250, 10 + number)) for number in range(10)]
    dataset = export_pictures(workspace, "wren", own, ["char_wren"])
    plan = make_plan(
        TrainingRequest(
            dataset="wren", base_model="base", settings={"validation_split": 0.2, "mixed_precision": "bf16"}
        ),
        dataset=DatasetFacts(slug="wren", digest=dataset_digest(dataset), images=10, trigger="char_wren"),
        base_model=BaseModelFacts(name="base", sha256="b" * 64, family="sd15"),
        engine="native",
        engine_version="1",
    )
    run = RunFolder(workspace.run_dir("wren", plan.run_id))
    run.dir.mkdir(parents=True)
    run.plan_file.write_text(plan.to_yaml())
    steps = tuple(
        Checkpoint(step, f"checkpoints/wren-step00000{step}-aaaaaaaa.safetensors", str(step)[0] * 64) for step in (100, 200)
    )  # fmt: skip
    grid = plan_cells(checkpoints=steps, prompts=(Prompt("char_wren, a"), Prompt("cat")), seeds=(1, 2))
    pictures = {
        each.key: Image.new("RGB", (64, 64), COLOURS[each.checkpoint.step if each.checkpoint else 0])
        for each in grid.renders
    }
    judge(run, grid, pictures, sampling=SAMPLING, encoder=ThumbnailEncoder())
    return workspace, run


def test_every_row_shows_the_character_the_base_and_each_step_in_order(world):
    sheet = np.asarray(before_and_after(*world))
    own = (sheet[..., :2] == 250).all(axis=2) & (sheet[..., 2] < 20)
    drawn = [(sheet == colour).all(axis=2) for colour in ((255, 0, 0), (0, 128, 0), (0, 0, 255))]
    columns = [np.flatnonzero(each.any(axis=0)).mean() for each in (own, *drawn)]
    assert np.isfinite(columns).all() and columns == sorted(columns)
    rows = (sheet == (0, 0, 255)).all(axis=2).sum() / 192**2
    assert rows == 4  # two prompts, two seeds, three times as large


def test_in_a_file_a_long_wait_is_told_of_again_and_again():
    stream = io.StringIO()
    lines = Lines(stream, every_s=0.05)
    with lines.doing("Starting ComfyUI"):
        time.sleep(0.6)
    lines.close()
    said = [line.partition(" s  ")[2] for line in stream.getvalue().splitlines()]
    assert said.count("Starting ComfyUI") >= 3 and set(said) == {"Starting ComfyUI"}


def test_lines_name_what_begins_how_far_it_is_and_what_took_its_time():
    stream = io.StringIO()
    follower = Follower({"5": "Kohya Train", "6": "Note"}, Lines(stream))
    nodes = {
        "6": {"state": "finished", "value": 1, "max": 1},
        "7": {"state": "pending", "value": 0, "max": 1},
    }
    for value in (0, 120):
        follower.take("wizdroid.training", {"run_id": "a1", "event": {"kind": "queued"}})
        follower.take("wizdroid.training", {"run_id": "a1", "event": {"kind": "phase", "name": "training"}})
        running = {"5": {"state": "running", "value": value, "max": 300}}
        follower.take("progress_state", {"nodes": {**nodes, **running}})
    assert stream.getvalue().splitlines() == ["    0 s  Kohya Train: training, 0 of 300"]
    assert follower.queued_runs == {"a1"}


def comfyui_that_asks_for(folder, *lines):
    folder.mkdir()
    (folder / "main.py").touch()
    (folder / "requirements.txt").write_text("\n".join(lines) + "\n")
    return folder


def test_a_persons_own_comfyui_that_lacks_something_is_told_of_in_a_line_and_not_started(tmp_path):
    own = comfyui_that_asks_for(
        tmp_path / "ComfyUI", "PyYAML>=5", "no-such-package-here>=1.2", "torchaudio", "--extra-index-url x",
        'only-elsewhere; sys_platform == "plan9"', "#non essential dependencies:", "nor_this_one",
    )  # fmt: skip
    environment = {**os.environ, "COMFYUI_DIR": str(own), "COMFYUI_PYTHON": sys.executable}
    command = [sys.executable, "-m", "scripts.demo", "--base", str(tmp_path / "base")]
    answer = subprocess.run(command, cwd=PACK_ROOT, env=environment, capture_output=True, text=True)
    assert (answer.returncode, answer.stderr) == (1, "")
    (line,) = answer.stdout.splitlines()
    assert f"The Python of the ComfyUI in {own} lacks no-such-package-here." in line
    assert f"{sys.executable} -m pip install no-such-package-here" in line
    assert not (tmp_path / "base" / "comfyui.log").exists()


@pytest.mark.parametrize(
    ("python", "told"), [("no_such_python", "does not answer"), (None, "holds no main.py")]
)
def test_a_comfyui_that_cannot_be_asked_is_told_of_in_a_line(tmp_path, monkeypatch, python, told):
    own = comfyui_that_asks_for(tmp_path / "ComfyUI", "numpy")
    if python is None:
        (own / "main.py").unlink()
    monkeypatch.setenv("COMFYUI_DIR", str(own))
    monkeypatch.setenv("COMFYUI_PYTHON", python or sys.executable)
    with pytest.raises(Unavailable, match=told):
        ComfyHost(tmp_path / "base").prepare()


def test_a_comfyui_that_fails_at_an_import_is_told_of_by_what_it_lacks(tmp_path, monkeypatch):
    own = comfyui_that_asks_for(tmp_path / "ComfyUI", "numpy")
    (own / "main.py").write_text("import no_such_module_here")
    monkeypatch.setenv("COMFYUI_DIR", str(own))
    monkeypatch.setenv("COMFYUI_PYTHON", sys.executable)
    with pytest.raises(Unavailable, match=r"lacks the module no_such_module_here\. Install"):
        ComfyHost(tmp_path / "base").start()


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals as POSIX systems know them")
def test_serving_ends_its_comfyui_when_it_is_told_to_end(tmp_path):
    """Also where a shell has started it in the background, and so with Ctrl-C ignored."""
    own = Path(__file__).parent / "doubles" / "comfyui"
    environment = {**os.environ, "COMFYUI_DIR": str(own), "COMFYUI_PYTHON": sys.executable, "COMFYUI_DOUBLE": "training",
                   "PYTHONPATH": str(PACK_ROOT)}  # fmt: skip
    for number in (signal.SIGTERM, signal.SIGINT):
        command = [sys.executable, "-m", "scripts.serve", "--port", "0", "--base", str(tmp_path / "base")]
        serving = subprocess.Popen(["sh", "-c", f"{' '.join(command)} & echo $!; wait"], cwd=PACK_ROOT, env=environment,
                                   stdout=subprocess.PIPE, text=True)  # fmt: skip
        with serving:
            pid = int(serving.stdout.readline())
            assert "ready" in serving.stdout.readline()
            (comfyui,) = psutil.Process(pid).children()
            os.kill(pid, number)
            assert "runs go on" in serving.stdout.read()
        assert not comfyui.is_running()


def test_waiting_for_comfyui_looks_up_again_and_again_so_that_no_signal_is_lost():
    """One that comes between Python's last look and the system's wait would not wake a wait without an end."""

    class Busy:
        asked: ClassVar[list[float]] = []

        def wait(self, timeout):
            self.asked.append(timeout)
            if len(self.asked) < 3:
                raise subprocess.TimeoutExpired("comfyui", timeout)
            return 7

    assert wait_for(Busy()) == 7 and len(Busy.asked) == 3 and max(Busy.asked) <= 1.0
