"""A picture on request, rendered inside the trainer: the first trained picture's caption and size, the weights as they are.

In: a `Training`. Out: a PNG in `samples/` and the fields of its event. A look while training goes on, no substitute for
the validation grid that ComfyUI renders. It draws from a stream of its own, so training goes on as if it had not been.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from ..native.diffusers_side.denoiser import Conditioning
from .batches import latent_shape, time_ids
from .randomness import Purpose, stream

if TYPE_CHECKING:
    from .training import Training

GUIDANCE = 6.0
STEPS_ON_GPU, STEPS_ON_CPU = 20, 8


def render_sample(training: Training, step: int, folder: Path) -> dict[str, Any]:
    """Render, save, and return the fields of the `sample` event."""
    item, seed = training.split.trained[0], training.settings.seed
    with training.trained.optimiser.averaged(), training.evaluating():
        latents_BCHW = _denoised(training, item.caption, item.placement, seed)
    vae = training.base.vae or training.load({"vae"}).vae
    pixels_CHW = vae.decode(latents_BCHW)[0].cpu()
    picture = ((pixels_CHW.permute(1, 2, 0) + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"step{step:08d}-{seed}.png"
    Image.fromarray(picture).save(file)
    return {"step": step, "file": f"{folder.name}/{file.name}", "prompt": item.caption, "seed": seed}


@torch.no_grad()
def _denoised(training: Training, caption: str, placement: Any, seed: int) -> torch.Tensor:
    """Latents (1, C, H, W) by DDIM with classifier-free guidance."""
    from diffusers import DDIMScheduler

    device, maker = training.device, training.maker
    scheduler: Any = DDIMScheduler(
        **{
            **training.base.scheduler_config,
            "prediction_type": training.settings.prediction_type,
            "rescale_betas_zero_snr": training.settings.zero_terminal_snr,
            "timestep_spacing": "trailing",
        }
    )
    scheduler.set_timesteps(STEPS_ON_GPU if device.type == "cuda" else STEPS_ON_CPU)
    shape = latent_shape(placement, maker.family, maker.latent_channels)
    noise = stream(seed, Purpose.SAMPLE).standard_normal((1, *shape), dtype=np.float32)
    latents_BCHW: torch.Tensor = torch.from_numpy(noise).to(device) * scheduler.init_noise_sigma
    both = _side_by_side(training.condition(""), training.condition(caption))
    sizes_26 = torch.tensor([time_ids(placement)] * 2, dtype=torch.float32, device=device)
    for timestep in scheduler.timesteps:
        timesteps_2 = timestep.to(device).expand(2)
        without, with_caption = training.denoise(
            latents_BCHW.expand(2, -1, -1, -1), timesteps_2, both, sizes_26
        ).float()
        said = without + GUIDANCE * (with_caption - without)
        latents_BCHW = scheduler.step(said[None], timestep, latents_BCHW).prev_sample
    return latents_BCHW


def _side_by_side(first: Conditioning, second: Conditioning) -> Conditioning:
    pooled = None
    if first.pooled_BP is not None and second.pooled_BP is not None:
        pooled = torch.cat([first.pooled_BP, second.pooled_BP])
    return Conditioning(torch.cat([first.hidden_BTD, second.hidden_BTD]), pooled)
