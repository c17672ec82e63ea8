"""Text encoders and VAE of a plan: found by their content, named by a person, proven by their digests."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

from kohya_bridge.architectures import architecture
from kohya_bridge.engines.contract import MachinePaths
from kohya_bridge.engines.native.engine import NativeEngine
from kohya_bridge.errors import InvalidInput
from kohya_bridge.models.chosen_files import choose_files
from kohya_bridge.models.places import Places
from kohya_bridge.plan import BaseModelFacts, DatasetFacts, ModelFileFacts, TrainingRequest, make_plan
from kohya_bridge.workspace import Workspace, file_sha256
from tests.architectures.test_conformance import plan_of

ZIMAGE = architecture("zimage")


def bearing(file, folder, name, *, mark=0):
    """A file in `folder` that bears the marks of the `ModelFile`, as small as its shapes allow."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {each: np.zeros([0 if n is None else n for n in size]) for each, size in file.known_by.items()}
    save_file({**tensors, "mark": np.full(1, float(mark))}, folder / name)


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    (folder / "diffusion_models").mkdir(parents=True)
    save_file({"layers.0.x": np.zeros(1)}, folder / "diffusion_models" / "z.safetensors")
    bearing(ZIMAGE.file("text_encoder"), folder / "text_encoders", "qwen.safetensors")
    bearing(ZIMAGE.file("ae"), folder / "vae", "ae.safetensors")
    return folder


def chosen(models, named=None, base="diffusion_models/z.safetensors", of_family=ZIMAGE):
    places = Places(Workspace(models.parent / "w"), [models / "checkpoints"], [], models)
    return choose_files(named or {}, of_family, models / base, places)


def test_the_only_files_that_fit_are_found_and_their_digests_taken(models, tmp_path):
    found = chosen(models)
    assert {option: file.name for option, file in found.facts.items()} == {
        "text_encoder": "qwen.safetensors",
        "ae": "ae.safetensors",
    }
    file = models / "vae" / "ae.safetensors"
    assert found.paths["ae"] == str(file)
    assert found.facts["ae"].sha256 == file_sha256(file, cache_dir=tmp_path / "other")


def test_where_two_fit_nothing_is_guessed_and_a_name_decides(models):
    bearing(ZIMAGE.file("ae"), models / "vae", "other.safetensors", mark=1)
    assert "ae" not in chosen(models).facts
    assert chosen(models, {"ae": "other.safetensors"}).facts["ae"].name == "other.safetensors"


def test_a_whole_checkpoint_needs_none_of_them(models):
    (models / "checkpoints").mkdir()
    names = ("model.diffusion_model.layers.0.x", "text_encoders.qwen3_4b.x", "vae.decoder.x")
    save_file({name: np.zeros(1) for name in names}, models / "checkpoints" / "all.safetensors")
    assert chosen(models, base="checkpoints/all.safetensors").facts == {}


def test_a_file_that_the_family_does_not_take_is_refused_with_those_that_it_takes(models):
    with pytest.raises(InvalidInput) as caught:
        chosen(models, {"clip_l": "x.safetensors"})
    assert "clip_l" in caught.value.problem and "text_encoder, ae" in caught.value.fix


def test_a_name_never_leads_out_of_comfyuis_folders(models, tmp_path):
    save_file({"x": np.zeros(1)}, tmp_path / "secret.safetensors")
    assert "ae" not in chosen(models, {"ae": "../../secret.safetensors"}).facts


def plan_with(**files):
    return make_plan(
        TrainingRequest(dataset="dots", base_model="z.safetensors", settings={"mixed_precision": "bf16"}),
        dataset=DatasetFacts(slug="dots", digest="d" * 64, images=20),
        base_model=BaseModelFacts(name="z.safetensors", sha256="b" * 64, family="zimage"),
        engine="native",
        engine_version="1",
        model_files=files,
    )


def test_another_encoder_is_another_run_and_another_name_for_it_is_not():
    one = ModelFileFacts(name="a.safetensors", sha256="1" * 64)
    assert plan_with(ae=one).run_id == plan_with(ae=one.model_copy(update={"name": "b.safetensors"})).run_id
    assert len({plan_with().run_id, plan_with(ae=one).run_id, plan_with(text_encoder=one).run_id}) == 3
    assert plan_with(ae=one).run_id != plan_with(ae=one.model_copy(update={"sha256": "2" * 64})).run_id


def told(base, folder, **files):
    paths = MachinePaths(base, folder, folder, folder, {name: str(file) for name, file in files.items()})
    problems = NativeEngine().problems(plan_of(architecture("sd3")), paths)
    return [each for each in problems if each.code == "model_file_missing"]


@pytest.mark.torch  # without it there is an obstacle before this one
def test_a_checkpoint_without_text_encoders_needs_at_least_one_beside_it(tmp_path):
    base, t5 = tmp_path / "sd3.5_large.safetensors", tmp_path / "t5.safetensors"
    save_file(
        {"model.diffusion_model.joint_blocks.0.x": np.zeros(1), "first_stage_model.x": np.zeros(1)}, base
    )
    (problem,) = told(base, tmp_path)
    assert problem.blocks and "sd3.5_large.safetensors has no text encoders inside" in problem.problem
    assert "CLIP-L, CLIP-G or T5-XXL" in problem.fix
    save_file({"x": np.zeros(1)}, t5)
    assert told(base, tmp_path, t5xxl=t5) == []
    inside = {"model.diffusion_model.joint_blocks.0.x": np.zeros(1), "text_encoders.t5xxl.x": np.zeros(1)}
    save_file(inside, base)
    assert told(base, tmp_path) == []
