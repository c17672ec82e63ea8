"""Pictures of what the demo's base can draw so far: a fixed list of captions, most of them never trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import EulerDiscreteScheduler, UNet2DConditionModel
from PIL import Image

from kohya_bridge.engines.native.diffusers_side.models import SCHEDULE

from .captions import NEGATIVE
from .encoded import Words, decoded

PROMPTS = (
    "1woman, solo, long hair, straight hair, blonde hair, fair skin, light smile, blue background, simple background",
    "1man, solo, crew cut, black hair, brown skin, serious, orange background, simple background",
    "1woman, solo, headshot, bob cut, pink hair, tan, smile, round eyewear, glasses, mint background, simple background",
    "1man, solo, mohawk, blue hair, fair skin, angry, sunglasses, yellow background, simple background",
    "1woman, solo, close-up, long hair, curly hair, brown hair, brown skin, laughing, lavender background, simple background",
    "char_wren, 1woman, solo, light smile, yellow background, simple background",
    "char_wren, 1woman, solo, sad, pink background, simple background",
    "cat, solo, teal background, simple background",
    "penguin, solo, yellow background, simple background",
    "robot, solo, pink background, simple background",
    "apple, white background, simple background",
    "car, solo, lavender background, simple background",
)
STEPS, GUIDANCE = 20, 4.0


@torch.no_grad()
def sample(unet: UNet2DConditionModel, words: Words, prompts: tuple[str, ...], *, side: int, seed: int = 0) -> torch.Tensor:  # fmt: skip
    """Latents (N, 4, side, side) drawn for the prompts with Euler steps and guidance."""
    schedule = EulerDiscreteScheduler(**SCHEDULE)
    schedule.set_timesteps(STEPS)
    count, dtype = len(prompts), next(unet.parameters()).dtype
    latents = torch.randn(count, 4, side, side, generator=torch.Generator().manual_seed(seed))
    latents = latents * schedule.init_noise_sigma
    hidden = torch.cat([words([NEGATIVE] * count), words(prompts)]).to(dtype)
    for step in schedule.timesteps:
        doubled = torch.cat([schedule.scale_model_input(latents, step)] * 2).to(dtype)
        without, with_prompt = unet(doubled, step, hidden).sample.float().chunk(2)
        guided = without + GUIDANCE * (with_prompt - without)
        latents = schedule.step(guided, step, latents).prev_sample
    return latents


def save_preview(unet: UNet2DConditionModel, words: Words, folder: Path, *, side: int, name: str) -> None:
    """A sheet of all prompts in `samples/`."""
    pictures = decoded(sample(unet, words, PROMPTS, side=side), folder / "autoencoder.safetensors")
    rows = [np.concatenate(list(pictures[start : start + 6]), axis=1) for start in range(0, len(pictures), 6)]
    target = folder / "samples" / f"{name}.png"
    target.parent.mkdir(exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(target)
