"""A picture on request, rendered inside the trainer: the first trained picture's caption and size, the weights as they are.

In: a `Training`. Out: a PNG in `samples/` and the fields of its event. A look while training goes on, no substitute for
the validation grid that ComfyUI renders. It draws from a stream of its own, so training goes on as if it had not been.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from ...device.accelerator import Accelerator
from ...files import Tree
from .base_weights import without_base_weights
from .batches import time_ids
from .conditioning import answers
from .randomness import Purpose, stream

if TYPE_CHECKING:
    from .training import Training

STEPS_ON_GPU, STEPS_ON_CPU = 20, 8


def render_sample(training: Training, step: int, run: Tree) -> dict[str, Any]:
    """Render, save, and return the fields of the `sample` event."""
    item, seed = training.split.trained[0], training.settings.seed
    network = training.trained.network
    with training.trained.optimiser.averaged(), training.evaluating(), without_base_weights(network):
        latents_BCHW = _denoised(training, item.caption, item.placement, seed)
    encoders = training.load_encoders({"vae"}) if training.settings.cache_latents else training.model.encoders
    pixels_CHW = encoders.pixels(latents_BCHW)[0].cpu()
    picture = ((pixels_CHW.permute(1, 2, 0) + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
    name = f"samples/step{step:08d}-{seed}.png"
    with run.writing(name) as stream:
        Image.fromarray(picture).save(stream, "PNG")
    return {"step": step, "file": name, "prompt": item.caption, "seed": seed}


@torch.no_grad()
def _denoised(training: Training, caption: str, placement: Any, seed: int) -> torch.Tensor:
    """Latents (1, C, H, W) with classifier-free guidance, by DDIM (Song et al. 2021, eta 0): from each time straight to the
    next, along the picture and the noise that the model's answer implies. For a flow model that is Euler's method."""
    device, objective, guidance = training.device, training.objective, training.model.guidance
    steps = STEPS_ON_GPU if Accelerator.of(torch, device).is_gpu else STEPS_ON_CPU
    times = objective.sampling_times(steps)
    shape = training.model.latent_shape(placement)
    noise = stream(seed, Purpose.SAMPLE).standard_normal((1, *shape), dtype=np.float32)
    noisy_BCHW: torch.Tensor = torch.from_numpy(noise).to(device)
    conditioning = training.condition(caption)
    if guidance != 1.0:
        conditioning = training.condition("").beside(conditioning)
    passes = len(conditioning)
    sizes_B6 = torch.tensor([time_ids(placement)] * passes, dtype=torch.float32, device=device)
    for number, time in enumerate(times):
        times_B = torch.tensor([time] * passes, device=device)
        said = answers(
            training.model, torch.cat([noisy_BCHW] * passes), times_B, conditioning, sizes_B6
        ).float()
        said_BCHW = said[-1:] if passes == 1 else said[:1] + guidance * (said[-1:] - said[:1])
        clean_BCHW = objective.clean(said_BCHW, noisy_BCHW, times_B[:1])
        if number == steps - 1:
            return clean_BCHW
        implied_BCHW = objective.noise(said_BCHW, noisy_BCHW, times_B[:1])
        noisy_BCHW = objective.noisy(
            clean_BCHW, implied_BCHW, torch.tensor([times[number + 1]], device=device)
        )
    raise AssertionError("a sample has a step")
