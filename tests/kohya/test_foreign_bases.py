"""Base models that only sd-scripts trains: told apart by their header, and found where ComfyUI keeps them."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

from kohya_bridge.engines.kohya.engine import KohyaEngine
from kohya_bridge.engines.kohya.foreign_bases import foreign_family
from kohya_bridge.places import Places
from kohya_bridge.plan import TrainingRequest
from kohya_bridge.preflight import check_request
from kohya_bridge.workspace import Workspace

NAMES = {
    "flux1": ["double_blocks.0.img_attn.qkv.weight", "single_blocks.0.linear1.weight"],
    "chroma": [
        "double_blocks.0.img_attn.qkv.weight",
        "single_blocks.0.linear1.weight",
        "distilled_guidance_layer.in_proj.weight",
    ],
    "sd3": ["model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight"],
    "lumina2": ["cap_embedder.0.weight", "layers.0.attention.qkv.weight"],
    "hunyuan_image": ["double_blocks.0.img_attn.qkv.weight", "byt5_in.layernorm.weight"],
    "anima": ["net.blocks.0.self_attn.q_proj.weight", "net.llm_adapter.embed.weight"],
}


def model_file(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "base.safetensors"
    save_file({name: np.zeros(1, np.float16) for name in names}, file)
    return file


@pytest.mark.parametrize("family", NAMES)
def test_a_family_is_known_by_the_names_of_its_tensors(tmp_path, family):
    assert foreign_family(model_file(tmp_path, NAMES[family])) == family


def test_other_files_bear_no_familys_marks(tmp_path):
    assert foreign_family(model_file(tmp_path, ["model.diffusion_model.input_blocks.0.0.weight"])) is None


def test_a_base_of_another_family_is_named_for_what_it_is(bench, tmp_path):
    bench.base_model = model_file(tmp_path / "models" / "diffusion_models", NAMES["chroma"])
    bench.family = "flux1"
    problems = {each.code: each for each in KohyaEngine().problems(bench.plan(), bench.paths)}
    assert "is not a FLUX.1 model but Chroma" in problems["base_model_family"].problem
    assert problems["base_model_family"].fix == "Set family to chroma."


@pytest.mark.parametrize("folder", ["diffusion_models", "unet"])
def test_the_desk_finds_a_transformer_beside_comfyuis_checkpoints(bench, folder):
    models = bench.root / "models"
    model_file(models / folder, NAMES["flux1"])
    workspace = Workspace(bench.root)
    bench.dataset_dir.rename(workspace.datasets_dir.mkdir(parents=True) or workspace.dataset_dir("dots"))
    places = Places(workspace, [models / "checkpoints"], [models / "loras"], bench.tokenizer_dir)
    request = TrainingRequest(dataset="dots", base_model="base.safetensors", family="flux1")
    (models / "checkpoints" / "base.safetensors").unlink()
    check = check_request(request, places, {"kohya": KohyaEngine()})
    assert check.paths.base_model_file == models / folder / "base.safetensors"
    assert check.plan.engine == "kohya" and "base_model_family" not in {each.code for each in check.problems}
