"""The grids of a canvas are captured with what feeds them, and every checkpoint gets its prompt once."""

import pytest

from kohya_bridge.run_folder import RunFolder
from kohya_bridge.runs.unattended import (
    close,
    grid_notices,
    grid_part,
    grids_on,
    keep,
    next_checkpoint,
    read,
)
from kohya_bridge.runs.usual_grid import usual_grid
from tests.rehearsed_runs import rehearsed_plan

OPEN_RUN = {"class_type": "OpenRun", "inputs": {"run_name": "alice/0123456789ab"}}
CANVAS = {
    "build": {"class_type": "Build", "inputs": {"seed": 7}},
    "lint": {"class_type": "Lint", "inputs": {"dataset": "alice"}},
    "base": {"class_type": "Load", "inputs": {"name": "base.safetensors"}},
    "train": {"class_type": "Train", "inputs": {"dataset": ["lint", 0]}, "is_changed": [1]},
    "grid": {
        "class_type": "Grid",
        "inputs": {"run": ["train", 0], "model": ["base", 0], "prompts": ["build", 0], "checkpoints": "best"},
        "is_changed": [2],
    },
    "save": {"class_type": "Save", "inputs": {"images": ["grid", 0]}},
    "other": {"class_type": "Grid", "inputs": {"run": ["another", 0], "checkpoints": "best"}},
}


def part():
    return grid_part(CANVAS, "train", grids_on(CANVAS, "train", grid="Grid"), replacement=OPEN_RUN)


def run_with(tmp_path, *steps):
    run = RunFolder(tmp_path / "alice" / "0123456789ab")
    run.checkpoints_dir.mkdir(parents=True)
    for step in steps:
        file = run.checkpoints_dir / f"{step}.safetensors"
        file.touch()
        run.append(
            "checkpoint",
            step=step,
            file=f"checkpoints/{file.name}",
            sha256=f"{step:064x}",
            bytes=0,
            final=False,
        )
    return run


def test_a_grid_is_captured_with_all_that_feeds_it_and_nothing_behind_it():
    assert grids_on(CANVAS, "train", grid="Grid") == ("grid",)
    assert set(part().prompt) == {"build", "base", "train", "grid"}
    assert part().prompt["train"] == OPEN_RUN
    assert "is_changed" not in part().prompt["grid"]


def test_each_checkpoint_is_named_by_its_step_and_the_rest_stays():
    prompt = part().for_step(200)
    assert prompt["grid"]["inputs"] == {**CANVAS["grid"]["inputs"], "checkpoints": "200"}
    assert part().prompt["grid"]["inputs"]["checkpoints"] == "best"


def test_a_canvas_without_a_grid_gets_a_usual_one():
    usual = usual_grid(rehearsed_plan(resolution=768), whole=True, opener=OPEN_RUN, grid="Grid")
    grid = usual.for_step(5)["grid"]["inputs"]
    assert (grid["checkpoints"], grid["width"], grid["seeds"]) == ("5", 768, "1, 2")


def test_checkpoints_come_in_the_order_of_their_steps_and_once_each(tmp_path):
    run = run_with(tmp_path, 200, 100)
    keep(run, part())
    seen = []
    while (row := next_checkpoint(run)) is not None:
        seen.append(row["step"])
        close(run, row["sha256"], "success")
    assert seen == [100, 200]
    assert set(read(run).over.values()) == {"success"}


def test_a_checkpoint_that_was_deleted_needs_no_grid(tmp_path):
    run = run_with(tmp_path, 100)
    keep(run, part())
    (run.checkpoints_dir / "100.safetensors").unlink()
    assert next_checkpoint(run) is None


def test_nothing_is_queued_for_a_run_that_nobody_wants_validated(tmp_path):
    assert next_checkpoint(run_with(tmp_path, 100)) is None


def test_queueing_the_same_canvas_again_renders_nothing_anew_and_another_one_does(tmp_path):
    run = run_with(tmp_path, 100)
    keep(run, part())
    close(run, next_checkpoint(run)["sha256"], "success")
    keep(run, part())
    assert next_checkpoint(run) is None
    other = usual_grid(rehearsed_plan(resolution=256), whole=True, opener=OPEN_RUN, grid="Grid")
    keep(run, other)
    assert next_checkpoint(run)["step"] == 100


def test_grids_that_were_not_made_are_told_once_for_each_cause_with_their_steps(tmp_path):
    run = run_with(tmp_path, 100, 400, 200, 300)
    assert grid_notices(run, run.state().checkpoints) == []
    keep(run, part())
    broken = "error: Load: no such file"
    for step, how in ((100, "success"), (400, broken), (200, broken), (300, "")):
        close(run, f"{step:064x}", how)
    told = grid_notices(run, run.state().checkpoints)
    assert [each["problem"] for each in told] == [
        f"No grid was made at step 200, 400: {broken}.",
        "No grid was made at step 300: its prompt was taken out of the queue.",
    ]
    assert all(each["fix"] and each["level"] == "warning" for each in told)


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"prompt": {}, "grids": [], "more": 1}'])
def test_a_damaged_file_is_told_and_hides_no_run(tmp_path, damage):
    run = run_with(tmp_path, 100)
    run.unattended_file.write_text(damage)
    (told,) = grid_notices(run, run.state().checkpoints)
    assert "damaged" in told["problem"] and told["fix"]
