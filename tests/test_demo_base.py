"""The bases made of a seed have the same bytes everywhere, and the demo's is worth training on."""

import hashlib

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from kohya_bridge.engines.training.lora import add_lora
from kohya_bridge.models.base_models import inspect_base_model
from kohya_bridge.settings import TrainingSettings
from scripts.make_demo_base import averaging_taesd, demo_base, save_base, tiny_sd15, tiny_sdxl, uniform
from tests.bases import load_tiny, save_fp32

pytestmark = pytest.mark.torch


def with_averaging_taesd():
    """A tiny base with the hand-made autoencoder in the place of its own."""
    others = {name: each for name, each in tiny_sd15().items() if not name.startswith("first_stage_model.")}
    return others | averaging_taesd()


def test_seeded_numbers_are_the_same_on_every_machine():
    drawn = uniform("some.weight", (3, 5), 7, spread=0.25)
    assert hashlib.sha256(drawn.tobytes()).hexdigest()[:16] == "eb54a60a5370333c"


@pytest.mark.parametrize(
    ("make", "digest"), [(tiny_sd15, "fe523bb4922c345d"), (tiny_sdxl, "60622ed6afb6cc54")]
)
def test_the_same_seed_gives_the_same_file(make, digest, tmp_path):
    file = save_base(tmp_path / "x.safetensors", make())
    assert hashlib.sha256(file.read_bytes()).hexdigest()[:16] == digest
    assert save_base(tmp_path / "y.safetensors", make(seed=1)).read_bytes() != file.read_bytes()


def test_random_weights_have_the_spread_that_was_asked_for():
    drawn = uniform("x", (400, 400), 0, spread=0.5)
    assert abs(drawn.std() - 0.5) < 0.005 and abs(drawn.mean()) < 0.005


@torch.no_grad()
def test_the_hand_made_autoencoder_keeps_smooth_pictures(tmp_path):
    base = load_tiny(save_fp32(tmp_path, "base", with_averaging_taesd()))
    ramp = torch.linspace(-0.8, 0.8, 128)
    pixels = torch.stack(
        [ramp[None].expand(128, -1), ramp[:, None].expand(-1, 128), torch.full((128, 128), 0.3)]
    )[None]
    latents = base.vae.encode(pixels)
    assert latents.shape == (1, 4, 16, 16)
    inside = (..., slice(16, -16), slice(16, -16))  # the smoothing fades to grey at the rim
    error = (base.vae.decode(latents) - pixels)[inside].abs().max()
    assert error < 0.06


def test_the_autoencoder_of_a_base_is_no_part_of_its_family(tmp_path):
    file = save_fp32(tmp_path, "base", with_averaging_taesd())
    assert inspect_base_model(file).family == "sd15"
    assert np.isclose(averaging_taesd()["first_stage_model.vae_scale"], 0.18215)


def test_a_lora_on_the_demo_base_lowers_the_loss_on_pictures_it_has_not_seen(tmp_path):
    """A few steps on smooth pictures that share a look; noise and timesteps of the measurement are fixed."""
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    base = load_tiny(save_base(tmp_path / "demo.safetensors", demo_base()))
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    centres = torch.rand(12, 2) - 0.5
    disks = torch.stack([((rows - y) ** 2 + (columns - x) ** 2 < 0.3).float() for y, x in centres])
    pixels = torch.stack([0.9 - 1.5 * disks, 0.8 - disks, 0.7 - 0.2 * disks], dim=1)
    trained, held_out = base.vae.encode(pixels).split([8, 4])
    with torch.no_grad():
        hidden = base.text.encode(base.text.tokenize(["char_disk"])).hidden
    schedule = DDPMScheduler(**base.scheduler_config)

    def loss(clean, noise, steps):
        predicted = base.unet(
            schedule.add_noise(clean, noise, steps), steps, hidden.expand(len(clean), -1, -1)
        ).sample
        return torch.nn.functional.mse_loss(predicted, noise)

    fixed = [(torch.full((4,), step), torch.randn(4, 4, 8, 8)) for step in (50, 250, 500, 750)]

    @torch.no_grad()
    def measured():
        return sum(float(loss(held_out, noise, steps)) for steps, noise in fixed) / len(fixed)

    network = add_lora(base, TrainingSettings(network_dim=8, network_alpha=8.0), seed=0)
    before = measured()
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(24):
        picked = trained[torch.randint(8, (2,))]
        loss(picked, torch.randn_like(picked), torch.randint(1000, (2,))).backward()
        optimiser.step()
        optimiser.zero_grad()
    after = measured()
    assert before < 1  # better than predicting nothing
    assert after < 0.75 * before
