"""What `make demo` queues, and the picture that it ends with."""

import json

import numpy as np
import pytest
from PIL import Image

from kohya_bridge.dataset import dataset_digest, export_pictures
from kohya_bridge.plan import BaseModelFacts, DatasetFacts, TrainingRequest, make_plan
from kohya_bridge.run_folder import RunFolder
from kohya_bridge.validation.cells import Checkpoint, Prompt, plan_cells
from kohya_bridge.validation.judge import judge
from kohya_bridge.validation.likeness import ThumbnailEncoder
from kohya_bridge.validation.manifest import Sampling
from kohya_bridge.workspace import Workspace
from scripts.demo import WORKFLOW_FILE, demo_workflow
from scripts.demo_grid import before_and_after

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
    assert grid["checkpoints"].split(", ")[-1] == str(train["steps"])


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
