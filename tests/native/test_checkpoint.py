"""A single-file checkpoint becomes exactly the model that diffusers makes of it; what does not fit is an error."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.numpy import load_file

from kohya_bridge.engines.native.diffusers_side.models import load_base
from kohya_bridge.engines.native.diffusers_side.unet import build_unet, shape_of_unet
from kohya_bridge.errors import InvalidInput
from scripts.base_layouts import SD15_UNET, SDXL_UNET
from scripts.make_demo_base import DEMO_UNET, TINY_SDXL_UNET, tiny_sd15
from tests.bases import inputs_for, load_tiny, save_fp32, write_diffusers_configs
from tests.native.reduced_layouts import REDUCED
from tests.native_world import tokenizer_dir

pytestmark = pytest.mark.torch

FAMILIES = ["sd15", "sdxl"]


@pytest.fixture(params=FAMILIES)
def file(request):
    return request.getfixturevalue(f"{request.param}_file")


@pytest.fixture
def pipeline(file, tmp_path):
    """What diffusers itself makes of the checkpoint, with the base that we loaded from it."""
    base = load_tiny(file)
    kind = StableDiffusionXLPipeline if base.family == "sdxl" else StableDiffusionPipeline
    folder = write_diffusers_configs(base, tmp_path / "config")
    return base, kind.from_single_file(
        str(file), config=str(folder), local_files_only=True, torch_dtype=torch.float32
    )


def same_weights(ours: torch.nn.Module, theirs: torch.nn.Module) -> bool:
    mine, other = ours.state_dict(), theirs.state_dict()
    return mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in mine)


def test_unet_autoencoder_and_text_encoders_are_those_that_diffusers_loads(pipeline):
    base, theirs = pipeline
    assert same_weights(base.unet, theirs.unet)
    assert same_weights(base.vae.model, theirs.vae)
    assert same_weights(base.text.encoders[0], theirs.text_encoder)
    if base.family == "sdxl":
        assert same_weights(base.text.encoders[1], theirs.text_encoder_2)


@torch.no_grad()
def test_forwards_are_equal_to_diffusers_bit_for_bit(pipeline):
    base, theirs = pipeline
    latents, steps, more = inputs_for(base)
    assert torch.equal(base.unet(latents, steps, **more).sample, theirs.unet(latents, steps, **more).sample)
    pixels = torch.rand(1, 3, 32, 32) * 2 - 1
    expected = theirs.vae.encode(pixels).latent_dist.mode() * base.vae.scale
    assert torch.equal(base.vae.encode(pixels), expected)


@torch.no_grad()
def test_prompt_conditioning_is_the_pipelines(pipeline):
    base, theirs = pipeline
    captions = ["char_alice, portrait, red dress", ""]
    encoded = base.text.encode(base.text.tokenize(captions))
    if base.family == "sdxl":
        hidden, _, pooled, _ = theirs.encode_prompt(captions, do_classifier_free_guidance=False)
        assert torch.equal(encoded.pooled, pooled)
    else:
        hidden, _ = theirs.encode_prompt(captions, "cpu", 1, False)
    assert torch.equal(encoded.hidden, hidden)


def test_a_diffusers_folder_loads_to_the_same_base(pipeline, tmp_path):
    base, theirs = pipeline
    theirs.save_pretrained(tmp_path / "folder", safe_serialization=True)
    again = load_base(tmp_path / "folder")
    assert (again.family, again.facts.prediction_type) == (base.family, "epsilon")
    assert same_weights(again.unet, base.unet)
    assert same_weights(again.text.encoders[-1], base.text.encoders[-1])
    pixels = torch.rand(1, 3, 32, 32) * 2 - 1
    assert torch.equal(again.vae.encode(pixels), base.vae.encode(pixels))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_come_straight_in_the_target_format(file, dtype):
    base = load_tiny(file, dtype=dtype)
    assert {parameter.dtype for parameter in base.unet.parameters()} == {dtype}
    assert {parameter.dtype for parameter in base.text.encoders[-1].parameters()} == {dtype}
    assert {parameter.dtype for parameter in base.vae.model.parameters()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in base.unet.parameters())


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells what is mapped")
def test_weights_in_the_files_own_format_are_not_copied(sd15_file):
    base = load_tiny(sd15_file, dtype=torch.float16)
    place = base.unet.conv_in.weight.data_ptr()
    mapped = [line.split() for line in open("/proc/self/maps") if line.rstrip().endswith(str(sd15_file))]
    spans = [tuple(int(end, 16) for end in words[0].split("-")) for words in mapped]
    assert any(begin <= place < end for begin, end in spans)


@pytest.mark.parametrize("shape", [SD15_UNET, SDXL_UNET, DEMO_UNET, TINY_SDXL_UNET, *REDUCED.values()])
def test_a_unet_that_is_built_has_the_shape_that_was_asked_for(shape):
    family = "sd15" if shape.vector_dim is None else "sdxl"
    assert shape_of_unet(build_unet(shape, family)) == shape


@pytest.mark.parametrize("shape", REDUCED.values(), ids=REDUCED)
@torch.no_grad()
def test_reduced_layouts_load_completely_and_predict_finite_numbers(shape, tmp_path):
    base = load_tiny(save_fp32(tmp_path, "reduced", tiny_sd15(unet=shape)))
    latents, steps, more = inputs_for(base)
    predicted = base.unet(latents, steps, **more).sample
    assert predicted.shape == latents.shape
    assert 0.01 < predicted.std() < 10


@torch.no_grad()
def test_an_embedded_tiny_autoencoder_gives_comfyuis_latents(tmp_path):
    tensors = tiny_sd15(taesd=True)
    tensors["first_stage_model.vae_scale"] = np.array(0.5, np.float32)
    tensors["first_stage_model.vae_shift"] = np.array(0.25, np.float32)
    base = load_tiny(save_fp32(tmp_path, "taesd", tensors))
    pixels = torch.rand(1, 3, 32, 32) * 2 - 1
    emitted = base.vae.model.encode(pixels).latents
    # ComfyUI: VAE.encode gives encoded / vae_scale + vae_shift, the model multiplies by 0.18215
    assert torch.allclose(base.vae.encode(pixels), (emitted / 0.5 + 0.25) * 0.18215, atol=1e-6)
    back = base.vae.decode((emitted / 0.5 + 0.25) * 0.18215)
    assert torch.allclose(back, base.vae.model.decode(emitted).sample.clamp(-1, 1), atol=1e-5)


def changed(tmp_path, source, change):
    tensors = {name: tensor.astype(np.float32) for name, tensor in load_file(source).items()}
    change(tensors)
    return save_fp32(tmp_path, "changed", tensors)


def test_a_tensor_without_a_place_is_named(sd15_file, tmp_path):
    def add(tensors):
        tensors["model.diffusion_model.input_blocks.1.0.surprise.weight"] = np.zeros(3, np.float32)

    with pytest.raises(InvalidInput, match=r"input_blocks\.1\.0\.surprise\.weight"):
        load_tiny(changed(tmp_path, sd15_file, add))


def test_a_missing_tensor_is_named(sd15_file, tmp_path):
    def remove(tensors):
        del tensors["model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"]

    with pytest.raises(InvalidInput, match=r"attn1\.to_q\.weight is missing"):
        load_tiny(changed(tmp_path, sd15_file, remove))


def test_a_tensor_of_the_wrong_shape_is_named(sdxl_file, tmp_path):
    def cut(tensors):
        name = "conditioner.embedders.1.model.transformer.resblocks.0.mlp.c_fc.weight"
        tensors[name] = tensors[name][:, :-1]

    with pytest.raises(InvalidInput, match=r"mlp\.fc1\.weight is \(512, 127\)"):
        load_tiny(changed(tmp_path, sdxl_file, cut))


def test_old_buffers_and_schedules_beside_the_weights_do_no_harm(sd15_file, tmp_path):
    def add(tensors):
        tensors["cond_stage_model.transformer.text_model.embeddings.position_ids"] = np.arange(
            77, dtype=np.float32
        )[None]
        tensors["alphas_cumprod"] = np.zeros(1000, np.float32)
        tensors["model_ema.decay"] = np.zeros((), np.float32)

    assert load_tiny(changed(tmp_path, sd15_file, add)).family == "sd15"


def test_another_family_than_planned_is_refused(sd15_file):
    with pytest.raises(InvalidInput, match="the plan says Stable Diffusion XL"):
        load_base(sd15_file, family="sdxl", tokenizer_dir=tokenizer_dir())


def test_only_the_parts_asked_for_are_loaded(sd15_file):
    base = load_base(sd15_file, parts={"vae"})
    assert (base.unet, base.text) == (None, None)
    assert isinstance(base.vae.model, AutoencoderKL)
    assert isinstance(load_base(sd15_file, parts={"unet"}).unet, UNet2DConditionModel)
