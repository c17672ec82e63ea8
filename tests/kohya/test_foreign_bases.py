"""Base models that only sd-scripts trains: told apart by their header, and found where ComfyUI keeps them."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

from kohya_bridge.architectures import ARCHITECTURES
from kohya_bridge.engines.kohya.engine import KohyaEngine
from kohya_bridge.errors import InvalidInput
from kohya_bridge.models.base_models import inspect_base_model
from kohya_bridge.models.places import Places
from kohya_bridge.plan import TrainingRequest
from kohya_bridge.runs.base_fit import base_problems
from kohya_bridge.steering.preflight import check_request
from kohya_bridge.workspace import Workspace

NAMES = {
    "flux1": [
        "double_blocks.0.img_attn.qkv.weight",
        "single_blocks.0.linear1.weight",
        "vector_in.in_layer.weight",
    ],
    "chroma": [
        "double_blocks.0.img_attn.qkv.weight",
        "single_blocks.0.linear1.weight",
        "distilled_guidance_layer.in_proj.weight",
    ],
    "sd3": ["model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight"],
    "lumina2": ["cap_embedder.0.weight", "cap_embedder.1.weight", "layers.0.attention.qkv.weight"],
    "hunyuan_image": ["double_blocks.0.img_attn.qkv.weight", "byt5_in.layernorm.weight"],
    "anima": ["net.blocks.0.self_attn.q_proj.weight", "net.llm_adapter.embed.weight"],
}


def model_file(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "base.safetensors"
    sizes = {"cap_embedder.1.weight": (2304, 1)}
    save_file({name: np.zeros(sizes.get(name, 1), np.float16) for name in names}, file)
    return file


@pytest.mark.parametrize("family", NAMES)
def test_a_family_is_known_by_the_names_of_its_tensors(tmp_path, family):
    assert inspect_base_model(model_file(tmp_path, NAMES[family])).family == family


def test_other_files_bear_no_familys_marks(tmp_path):
    with pytest.raises(InvalidInput, match="not known here"):
        inspect_base_model(model_file(tmp_path, ["model.diffusion_model.double_blocks.9.lin.weight"]))


def test_a_base_of_another_family_is_named_for_what_it_is(bench, tmp_path):
    bench.base_model = model_file(tmp_path / "models" / "diffusion_models", NAMES["chroma"])
    bench.family = "flux1"
    problems = {each.code: each for each in base_problems(bench.plan(), bench.base_model, named=True)}
    assert "is not a FLUX.1 model but a Chroma model" in problems["base_model_family"].problem
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


def part(folder, name, file):
    """A file that bears the marks of a `ModelFile`, as small as its shapes allow (empty where any size will do)."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        tensor: np.zeros([0 if size is None else size for size in shape], np.float16)
        for tensor, shape in file.known_by.items()
    }
    save_file(tensors, folder / name)


@pytest.fixture
def flux(bench):
    """A FLUX.1 transformer where ComfyUI keeps it, and a request for it that leaves the family to be found."""
    models = bench.root / "models"
    model_file(models / "diffusion_models", NAMES["flux1"])
    (models / "checkpoints" / "base.safetensors").unlink()
    workspace = Workspace(bench.root)
    bench.dataset_dir.rename(workspace.datasets_dir.mkdir(parents=True) or workspace.dataset_dir("dots"))
    places = Places(
        workspace,
        [models / "checkpoints"],
        [models / "loras"],
        bench.tokenizer_dir,
        model_dirs={"text_encoders": [bench.root / "elsewhere"]},
    )
    return models, places, TrainingRequest(dataset="dots", base_model="base.safetensors")


PARTS = {file.option: file for file in ARCHITECTURES["flux1"].model_files}


def test_the_family_of_a_transformer_is_read_from_the_file(flux):
    _, places, request = flux
    check = check_request(request, places, {"kohya": KohyaEngine()})
    assert check.plan.base_model.family == "flux1" and check.plan.engine == "kohya"


def test_the_only_files_that_fit_are_taken_from_comfyuis_folders(flux):
    models, places, request = flux
    part(places.model_dirs["text_encoders"][0], "l.safetensors", PARTS["clip_l"])
    part(models / "text_encoders", "g.safetensors", ARCHITECTURES["sd3"].model_files[1])
    part(models / "clip", "t5.safetensors", PARTS["t5xxl"])
    part(models / "vae", "flux_ae.safetensors", PARTS["ae"])
    check = check_request(request, places, {"kohya": KohyaEngine()})
    chosen = {option: check.plan.kohya[option] for option in PARTS}
    assert chosen == {"clip_l": "l.safetensors", "t5xxl": "t5.safetensors", "ae": "flux_ae.safetensors"}
    assert [each for each in check.problems if each.code == "model_file_missing"] == []


def test_where_several_fit_the_person_chooses(flux):
    models, places, request = flux
    for name in ("a.safetensors", "b.safetensors"):
        part(models / "vae", name, PARTS["ae"])
    told = [
        each
        for each in check_request(request, places, {"kohya": KohyaEngine()}).problems
        if "autoencoder" in each.problem
    ]
    assert "2 files may be meant" in told[0].problem and "a.safetensors, b.safetensors" in told[0].fix
    named = request.model_copy(update={"kohya": {"ae": "b.safetensors"}})
    check = check_request(named, places, {"kohya": KohyaEngine()})
    assert check.plan.kohya["ae"] == "b.safetensors"
    assert not any("autoencoder" in each.problem for each in check.problems)


def test_a_long_caption_is_not_called_cut_off_for_a_family_that_does_not_read_clip(flux):
    _, places, request = flux
    pictures = sorted(places.workspace.dataset_dir("dots").glob("images/*.png"))
    assert pictures
    for each in pictures:
        each.with_suffix(".txt").write_text("dots, " + "a very long caption " * 60, encoding="utf-8")
    told = check_request(request, places, {"kohya": KohyaEngine()}).problems
    assert not [each for each in told if "tokens" in each.problem]
