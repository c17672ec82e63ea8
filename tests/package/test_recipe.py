"""A packaged LoRA, or its card, says how to make it again; what was tampered with or is missing is refused by reason."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from kohya_bridge.dataset import dataset_digest, export_pictures
from kohya_bridge.errors import InvalidInput, NotFound, Refused
from kohya_bridge.package import package_lora
from kohya_bridge.package.recipe import compare_tensors, find_ingredients, read_recipe
from kohya_bridge.plan import make_plan
from kohya_bridge.workspace import Workspace

BASE_BYTES = b"the base model"


@pytest.fixture
def made(finished):
    return package_lora(finished.run, lora_dir=finished.lora_dir)


def edited(file, target, *, tensors=None, metadata=None):
    with safe_open(file, "np") as opened:
        table = opened.metadata()
    save_file(tensors or load_file(file), target, {**table, **(metadata or {})})
    return target


@pytest.mark.parametrize("form", ["lora", "card"])
def test_the_plan_comes_back_as_it_was(finished, made, form):
    recipe = read_recipe(made.file if form == "lora" else made.card_file)
    assert recipe.plan == finished.run.plan()
    assert (recipe.run_id, recipe.step) == (finished.run.run_id, 800)
    assert recipe.tensors == made.tensor_sha256
    for part in ("30 pictures", "d" * 64, "b" * 64, "native 1"):
        assert part in recipe.needs()


def test_the_request_of_a_recipe_gives_the_same_run(finished, made):
    plan = finished.run.plan()
    again = make_plan(
        read_recipe(made.file).request(),
        dataset=plan.dataset,
        base_model=plan.base_model,
        engine=plan.engine,
        engine_version=plan.engine_version,
    )
    assert again.run_id == finished.run.run_id


def test_a_changed_weight_is_noticed(made, tmp_path):
    tensors = load_file(made.file)
    next(each for each in tensors.values() if each.ndim)[0, 0] += 1
    with pytest.raises(Refused, match="its tensors are not the ones that its header was written for"):
        read_recipe(edited(made.file, tmp_path / "x.safetensors", tensors=tensors))


def test_a_changed_number_in_the_plan_is_noticed(made, tmp_path):
    with safe_open(made.file, "np") as opened:
        plan = opened.metadata()["wizdroid.plan"]
    changed = {"wizdroid.plan": plan.replace('"seed":42', '"seed":43')}
    with pytest.raises(Refused, match="its plan gives run"):
        read_recipe(edited(made.file, tmp_path / "x.safetensors", metadata=changed))
    with pytest.raises(Refused, match="its training plan is damaged"):
        read_recipe(edited(made.file, tmp_path / "y.safetensors", metadata={"wizdroid.plan": "{"}))


def test_a_card_whose_plan_was_edited_is_noticed(made, tmp_path):
    card = tmp_path / "card.md"
    card.write_text(made.card_file.read_text().replace("network_dim: 16", "network_dim: 17"))
    with pytest.raises(Refused, match="its plan gives run"):
        read_recipe(card)


def test_a_plan_that_named_files_of_its_machine_gives_them_away_to_nobody_and_says_that_it_is_incomplete(
    finished,
):
    plan = finished.run.plan().model_copy(update={"kohya": {"reg_data_dir": "/home/somebody/reg"}})
    finished.run.plan_file.write_text(plan.to_yaml())
    made = package_lora(finished.run, lora_dir=finished.lora_dir)
    for file in (made.file, made.card_file):
        assert b"somebody" not in file.read_bytes()
        with pytest.raises(Refused, match="named files of the machine"):
            read_recipe(file)


def test_files_without_a_recipe_are_named_as_such(made, tmp_path):
    plain = tmp_path / "plain.safetensors"
    save_file({"a": np.zeros(1)}, plain)
    (tmp_path / "card.md").write_text("# nothing")
    for file in (plain, tmp_path / "card.md"):
        with pytest.raises(InvalidInput, match="carries no training plan"):
            read_recipe(file)
    with pytest.raises(NotFound):
        read_recipe(tmp_path / "none.safetensors")


@pytest.fixture
def complete(finished, tmp_path):
    """A recipe whose dataset and base model are both on this machine."""
    dataset = export_pictures(finished.workspace, "alice", [Image.new("RGB", (8, 8))], ["char_alice"])
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "base.safetensors").write_bytes(BASE_BYTES)
    plan = finished.run.plan()
    plan = plan.model_copy(
        update={
            "base_model": plan.base_model.model_copy(
                update={"sha256": hashlib.sha256(BASE_BYTES).hexdigest()}
            ),
            "dataset": plan.dataset.model_copy(update={"digest": dataset_digest(dataset)}),
        }
    )
    recipe = read_recipe(package_lora(finished.run, lora_dir=finished.lora_dir).file)
    return replace(recipe, plan=plan), folder


def test_what_is_needed_is_found_by_content_also_under_another_name(finished, complete):
    recipe, folder = complete
    assert (
        find_ingredients(recipe, finished.workspace, base_dirs=[folder]).base_model_name == "base.safetensors"
    )
    (folder / "base.safetensors").rename(folder / "renamed.safetensors")
    found = find_ingredients(recipe, finished.workspace, base_dirs=[folder], base_model="renamed.safetensors")
    assert recipe.request(base_model=found.base_model_name).base_model == "renamed.safetensors"


def test_another_version_of_the_dataset_and_a_wrong_base_are_said_at_once(finished, complete):
    recipe, folder = complete
    (folder / "base.safetensors").write_bytes(b"another model")
    (finished.workspace.dataset_dir("alice") / "captions.jsonl").write_text("")
    with pytest.raises(InvalidInput) as caught:
        find_ingredients(recipe, finished.workspace, base_dirs=[folder])
    assert "is another version: its digest is" in caught.value.problem
    assert "is another file" in caught.value.problem


def test_a_dataset_and_base_that_are_not_here_are_named_with_what_to_get(complete, tmp_path):
    recipe, _ = complete
    with pytest.raises(InvalidInput) as caught:
        find_ingredients(recipe, Workspace.at(tmp_path / "elsewhere"), base_dirs=[tmp_path / "none"])
    assert (
        "is not on this machine" in caught.value.problem
        and recipe.plan.dataset.digest in caught.value.problem
    )
    assert "is not in ComfyUI's checkpoint folders" in caught.value.problem


@pytest.mark.parametrize("name", ["../base.safetensors", "/etc/passwd"])
def test_a_base_model_name_that_leads_out_of_the_folders_is_not_followed(finished, complete, name):
    recipe, folder = complete
    with pytest.raises(InvalidInput, match="is not in ComfyUI's checkpoint folders"):
        find_ingredients(recipe, finished.workspace, base_dirs=[folder / "x"], base_model=name)


def test_whether_a_new_training_gave_the_same_tensors_is_said_plainly(finished, made):
    recipe = read_recipe(made.file)
    same = finished.run.dir / finished.run.checkpoint(800)["file"]
    other = finished.run.dir / finished.run.checkpoint(400)["file"]
    assert compare_tensors(recipe, same).startswith("Identical")
    assert compare_tensors(recipe, other).startswith("Different")
