"""While a run trains in the background every checkpoint gets its grid, and prompts borrow the GPU. No page is open."""

import json

import pytest
from PIL import Image

from kohya_bridge.runs.unattended import read
from kohya_bridge.validation.manifest import MANIFEST_NAME, read_manifest
from scripts.host.comfy_client import outcome
from tests.host.canvas import changed, id_of, plain_render, whole_job
from tests.host.test_bad_input import settings_node
from tests.host.test_training_in_the_background import runs, wait_for

pytestmark = pytest.mark.host
STEPS, EVERY = 48, 16


def canvas(comfy, **train):
    """Caption Export, Lint, Kohya Train and a grid behind it."""
    prompt = whole_job(dataset="unattended", mode="background", steps=STEPS, **train)
    for name in [name for name in prompt if int(name) >= int(id_of(prompt, "WizdroidPackageLora"))]:
        del prompt[name]  # what comes behind the grid
    prompt["90"] = settings_node(comfy, save_every_n_steps=EVERY, validate_every_n_steps=EVERY)
    return changed(prompt, "WizdroidKohyaTrain", settings=["90", 0])


def borrowed(run):
    """How each loan of the run began and ended."""
    told = [row for row in run.events() if row["kind"] == "control"]
    return [(row["action"], row.get("reason")) for row in told]


@pytest.fixture(scope="module")
def trained(comfy):
    """A run that was validated unattended while another prompt rendered as well."""
    queued = canvas(comfy, validate_checkpoints=True)
    assert outcome(comfy.client.run(queued)) == "success", comfy.log_tail(60)
    (run,) = runs(comfy, "unattended")
    wait_for(lambda: run.state().step >= 5, what="five steps")
    rendered = comfy.client.run(plain_render(seed=5, text="a lamp, meanwhile"))
    still_trained = not run.state().is_finished
    wait_for(lambda: run.state().is_finished, what="the run ended")
    wait_for(lambda: len(read(run).over) == STEPS // EVERY, what="a grid for every checkpoint")
    return run, rendered, still_trained


def test_a_prompt_queued_in_mid_run_renders_while_the_run_lends_its_gpu(trained):
    run, rendered, still_trained = trained
    assert outcome(rendered) == "success"
    assert still_trained
    assert borrowed(run)[:2] == [("lend", None), ("take_back", "withdrawn")]
    assert run.state().status == "completed"


def test_every_checkpoint_has_its_labelled_grid_and_one_sheet_shows_them_all(comfy, trained):
    run, _, _ = trained
    assert set(read(run).over.values()) == {"success"}
    folder = comfy.workspace_dir / "validations" / run.slug / run.run_id
    steps = range(EVERY, STEPS + 1, EVERY)
    for step in steps:
        (grid,) = folder.glob(f"grid-step{step:08d}-*.png")
        with Image.open(grid) as picture:
            assert picture.width > 2 * 64 and picture.height > 2 * 64
    manifest = read_manifest(folder / MANIFEST_NAME)
    addresses = {grid.picture.file[:17]: sorted(grid.cells) for grid in manifest.grids}
    assert [addresses[f"grid-step{step:08d}"] for step in steps] == [["A1", "A2", "B1", "B2"]] * 3
    assert {cell.lora.step for cell in manifest.cells if cell.lora} == set(steps)
    assert (folder / "overview.png").is_file()
    names = [each["name"] for each in pictures(comfy, run)]
    assert len([name for name in names if name.startswith("grid-grid-step")]) >= len(steps)
    assert "grid-overview.png" in names and not [name for name in names if "cells" in name]


def pictures(comfy, run):
    return comfy.client.get(f"wizdroid/training/runs/{run.run_id}/pictures")["pictures"]


def test_the_training_is_the_same_to_the_byte_as_one_that_nobody_disturbed(comfy, trained):
    run, _, _ = trained
    files = {row["step"]: row["sha256"] for row in run.state().checkpoints}
    comfy.client.post(f"wizdroid/training/runs/{run.run_id}/delete", {})
    alone = changed(canvas(comfy), "WizdroidKohyaTrain", mode="wait", lend_gpu=False)
    assert outcome(comfy.client.run(alone)) == "success", comfy.log_tail(60)
    assert run.state().status == "completed"
    assert borrowed(run) == []
    assert {row["step"]: row["sha256"] for row in run.state().checkpoints} == files
    assert json.loads(run.lending_file.read_text("utf-8")) == {"lend": False}
