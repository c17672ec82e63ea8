"""The manifest keeps what a person wrote, replaces what was rendered again, and never destroys a file it can't read."""

import hashlib
import json

import pytest
from PIL import Image

from kohya_bridge.errors import InvalidInput
from kohya_bridge.validation.cells import Checkpoint, Prompt, plan_cells
from kohya_bridge.validation.grid import layout_grid
from kohya_bridge.validation.manifest import Sampling, read_manifest
from kohya_bridge.validation.measures import measure_grid
from kohya_bridge.validation.save import find_rendered, save_grid

SAMPLING = Sampling(
    sampler="euler", scheduler="normal", steps=20, cfg=7.0, width=32, height=32, base_model="base.safetensors"
)
STEP = Checkpoint(400, "checkpoints/alice-step00000400-aaaaaaaa.safetensors", "a" * 64)


def save(folder, *, shade=0, seeds=(1, 2), run_id="0123456789ab", sampling=SAMPLING):
    plan = plan_cells(
        checkpoints=(STEP,), prompts=(Prompt("char_alice", "blurry"),), strengths=(0.8,), seeds=seeds
    )
    pictures = {
        each.key: Image.new("RGB", (32, 32), (int(each.strength * 100) + shade, each.seed, 0))
        for each in plan.renders
    }
    measures = measure_grid(plan, pictures)
    return plan, save_grid(
        folder, plan, pictures, slug="alice", run_id=run_id, sampling=sampling, measures=measures
    )


def test_every_cell_has_its_prompt_seed_strength_lora_and_a_picture_whose_hash_is_right(tmp_path):
    _, saved = save(tmp_path)
    assert len(saved.manifest.cells) == 4
    for cell in saved.manifest.cells:
        assert (cell.prompt, cell.negative) == ("char_alice", "blurry")
        assert (cell.lora is None) == (cell.strength == 0)
        data = (tmp_path / cell.picture.file).read_bytes()
        assert hashlib.sha256(data).hexdigest() == cell.picture.sha256
        assert "difference" in cell.metrics
    assert saved.manifest.grids[0].cells["B2"] == next(
        cell.key for cell in saved.manifest.cells if cell.seed == 2 and cell.strength
    )


def test_notes_survive_a_second_rendering(tmp_path):
    _, saved = save(tmp_path)
    data = json.loads(saved.manifest_file.read_text())
    data["cells"][1]["notes"] = "hand has six fingers"
    data["grids"][0]["notes"] = "good grid"
    data["notes"] = "keep"
    saved.manifest_file.write_text(json.dumps(data))
    _, again = save(tmp_path, shade=5)
    assert again.manifest.cells[1].notes == "hand has six fingers"
    assert again.manifest.cells[1].picture.sha256 != data["cells"][1]["picture"]["sha256"]
    assert (again.manifest.grids[0].notes, again.manifest.notes) == ("good grid", "keep")
    assert len(again.manifest.cells) == 4 and len(again.manifest.grids) == 1


def test_another_seed_or_sampler_is_another_cell(tmp_path):
    save(tmp_path)
    save(tmp_path, seeds=(2, 3))
    _, saved = save(tmp_path, sampling=SAMPLING.model_copy(update={"steps": 30}))
    assert len(saved.manifest.cells) == 4 + 2 + 4
    assert len(saved.manifest.grids) == 3


def test_a_damaged_manifest_is_reported_and_left_alone(tmp_path):
    _, saved = save(tmp_path)
    saved.manifest_file.write_text("{ torn")
    with pytest.raises(InvalidInput, match="was not changed"):
        save(tmp_path)
    assert saved.manifest_file.read_text() == "{ torn"


def test_a_manifest_with_an_unknown_key_is_refused_by_name(tmp_path):
    _, saved = save(tmp_path)
    data = json.loads(saved.manifest_file.read_text()) | {"noets": ""}
    saved.manifest_file.write_text(json.dumps(data))
    with pytest.raises(InvalidInput, match="Did you mean 'notes'"):
        read_manifest(saved.manifest_file)


def test_a_manifest_of_another_run_is_not_mixed_in(tmp_path):
    save(tmp_path)
    with pytest.raises(InvalidInput, match="belongs to run"):
        save(tmp_path, run_id="ba9876543210")


def test_pictures_that_exist_are_found_and_damaged_ones_are_not(tmp_path):
    plan, saved = save(tmp_path)
    assert set(find_rendered(tmp_path, plan, SAMPLING)) == {each.key for each in plan.renders}
    (tmp_path / saved.manifest.cells[0].picture.file).write_bytes(b"\x89PNG torn")
    assert len(find_rendered(tmp_path, plan, SAMPLING)) == 3
    assert find_rendered(tmp_path, plan, SAMPLING.model_copy(update={"cfg": 1.0})) == {}


def test_a_cell_carries_its_generation_data_in_the_form_that_other_tools_read(tmp_path):
    _, saved = save(tmp_path)
    cell = next(each for each in saved.manifest.cells if each.strength and each.seed == 2)
    text = Image.open(tmp_path / cell.picture.file).info["parameters"]
    assert text.splitlines() == [
        "char_alice <lora:alice-step00000400-aaaaaaaa:0.8>",
        "Negative prompt: blurry",
        "Steps: 20, Sampler: euler, Schedule type: normal, CFG scale: 7, Seed: 2, Size: 32x32, Model: base",
    ]


def test_grids_of_several_checkpoints_are_seen_together_in_one_overview(tmp_path):
    for step, strengths in ((400, (0.5, 1.0)), (800, (0.5,)), (1200, (0.5, 1.0))):
        checkpoint = Checkpoint(step, f"checkpoints/c{step}.safetensors", f"{step:064x}")
        plan = plan_cells(
            checkpoints=(checkpoint,), prompts=(Prompt("char_alice"),), strengths=strengths, seeds=(1, 2)
        )
        shade = {0.0: 0, 0.5: 90, 1.0: 180}
        pictures = {
            each.key: Image.new("RGB", (32, 32), (shade[each.strength], step // 10, 0))
            for each in plan.renders
        }
        saved = save_grid(tmp_path, plan, pictures, slug="alice", run_id="0123456789ab", sampling=SAMPLING)
        assert (saved.overview_file is None) == (step == 400)
    layout = layout_grid(
        (2, 4), (32, 32), rows=["strength 0.5", "strength 1"], columns=["no LoRA", "step 400"], title="x"
    )
    sheet = Image.open(saved.overview_file)
    assert sheet.width == layout.size[0]
    colours = {colour for _, colour in sheet.getcolors(maxcolors=100_000)}
    assert {(90, 40, 0), (90, 80, 0), (90, 120, 0), (180, 40, 0), (180, 120, 0)} <= colours
    assert (180, 80, 0) not in colours and (228, 228, 228) in colours
