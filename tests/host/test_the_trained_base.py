"""The demo's trained base draws the same picture in real ComfyUI and in diffusers, from the same file and noise."""

import json

import pytest
import torch
from diffusers import EulerDiscreteScheduler

from kohya_bridge.engines.native.diffusers_side.models import SCHEDULE
from kohya_bridge.models.base_models import inspect_base_model
from scripts.demo_base.assemble import assemble, is_current
from tests.bases import load_tiny
from tests.host.test_comfyui_reads_our_files import ask_comfyui

pytestmark = pytest.mark.host
JOB = {
    "prompt": "1woman, solo, bob cut, pink hair, light smile, blue background, simple background",
    "negative": "blurry",
    "steps": 6,
    "cfg": 4.0,
}


@pytest.fixture(scope="module")
def work_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    assemble(folder / "base.safetensors")
    (folder / "picture.json").write_text(json.dumps(JOB), encoding="utf-8")
    return folder


def test_it_is_a_stable_diffusion_1_that_knows_what_it_was_made_from(work_dir):
    file = work_dir / "base.safetensors"
    assert inspect_base_model(file).family == "sd15" and is_current(file)


@torch.no_grad()
def test_comfyui_and_diffusers_draw_the_same_picture(work_dir):
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(5))
    theirs, said = ask_comfyui(work_dir, "picture", noise=noise)
    ours = drawn(load_tiny(work_dir / "base.safetensors"), noise)
    assert said["model"] == "SD15"
    difference = (ours - theirs["pixels"].float()).abs() * 255
    assert ours.std() > 0.05  # a picture, not a plain colour
    assert difference.mean() < 1 and difference.max() < 16


def drawn(base, noise):
    """Pixels (1, 3, H, W) in [0, 1] by diffusers' Euler sampler on the timesteps that ComfyUI's `normal` takes."""
    schedule = EulerDiscreteScheduler(**SCHEDULE, timestep_spacing="linspace")
    schedule.set_timesteps(JOB["steps"])
    hidden = base.text.encode(base.text.tokenize([JOB["negative"], JOB["prompt"]])).hidden
    # ComfyUI adds the noise to an empty picture's latents at full strength
    latents = noise * (schedule.sigmas[0] ** 2 + 1).sqrt()
    for step in schedule.timesteps:
        pair = schedule.scale_model_input(latents, step).expand(2, -1, -1, -1)
        without, with_prompt = base.unet(pair, step, hidden).sample.chunk(2)
        latents = schedule.step(without + JOB["cfg"] * (with_prompt - without), step, latents).prev_sample
    return (base.vae.decode(latents) + 1) / 2
