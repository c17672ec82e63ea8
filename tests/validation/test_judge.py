"""A grid is judged against the pictures that its run trained on and those that were held out."""

import numpy as np
import pytest
from PIL import Image

from kohya_bridge.dataset import dataset_digest, export_pictures
from kohya_bridge.datasets.held_out_split import held_out_names
from kohya_bridge.plan import BaseModelFacts, DatasetFacts, TrainingRequest, make_plan
from kohya_bridge.run_folder import RunFolder
from kohya_bridge.validation.cells import Checkpoint, Prompt, plan_cells
from kohya_bridge.validation.judge import judge
from kohya_bridge.validation.likeness import ThumbnailEncoder
from kohya_bridge.validation.manifest import Sampling
from kohya_bridge.validation.reference import reference_pictures
from kohya_bridge.workspace import Workspace

SAMPLING = Sampling(
    sampler="euler", scheduler="normal", steps=4, cfg=7, width=64, height=64, base_model="base"
)
STEP = Checkpoint(400, "checkpoints/alice-step00000400-aaaaaaaa.safetensors", "a" * 64)


def noise(seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8))


@pytest.fixture
def run(tmp_path):
    workspace = Workspace.at(tmp_path / "training")
    dataset = export_pictures(workspace, "alice", [noise(n) for n in range(10)], ["char_alice"])
    plan = make_plan(
        TrainingRequest(
            dataset="alice", base_model="base", settings={"validation_split": 0.2, "mixed_precision": "bf16"}
        ),
        dataset=DatasetFacts(slug="alice", digest=dataset_digest(dataset), images=10, trigger="char_alice"),
        base_model=BaseModelFacts(name="base", sha256="b" * 64, family="sd15"),
        engine="native",
        engine_version="1",
    )
    run = RunFolder(workspace.run_dir("alice", plan.run_id))
    run.dir.mkdir(parents=True)
    run.plan_file.write_text(plan.to_yaml())
    return run, workspace, dataset


def test_the_split_is_the_one_that_the_engines_train_with(run):
    folder, workspace, dataset = run
    names = [item.name for item in dataset.items]
    apart = held_out_names(names, share=0.2, seed=folder.plan().settings.validation_seed)
    reference = reference_pictures(workspace, folder.plan())
    assert len(reference.training) == 8 and len(reference.held_out) == 2
    expected = [
        Image.open(item.file).convert("RGB").tobytes() for item in dataset.items if item.name in apart
    ]
    assert [picture.tobytes() for picture in reference.held_out] == expected


def judged(folder, workspace):
    grid = plan_cells(
        checkpoints=(STEP,), prompts=(Prompt("char_alice, x"),), strengths=(0.5, 1.0), seeds=(1, 2, 3)
    )
    target = reference_pictures(workspace, folder.plan()).held_out
    target = target[0] if target else noise(5)
    pictures = {
        each.key: Image.blend(noise(100 + each.seed), target, 0.3 * each.strength) for each in grid.renders
    }
    return judge(folder, grid, pictures, sampling=SAMPLING, encoder=ThumbnailEncoder())


def test_the_report_names_the_strength_the_numbers_and_what_they_were_measured_with(run):
    result = judged(run[0], run[1])
    assert result.advice[STEP].strength == 1.0 and result.advice[STEP].measured
    for part in ("Step 400: use strength 1.", "95 % interval", "encoder: thumbnail", "Not measured: leak"):
        assert part in result.report
    assert result.saved.file.is_file()
    stored = result.saved.manifest.grids[0].measures["advice"][STEP.sha256]
    assert stored["strength"] == 1.0 and stored["reason"] == result.advice[STEP].reason


def test_a_dataset_that_changed_since_is_not_compared_with_and_the_report_says_so(run):
    folder, workspace, dataset = run
    dataset.items[0].file.unlink()
    result = judged(folder, workspace)
    assert "has changed since the training" in result.report
    assert not result.advice[STEP].measured
