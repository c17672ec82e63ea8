"""Pictures to the U-Net's latents and back: Stable Diffusion's autoencoder, or the tiny one that a checkpoint may carry.

In: pixels (B, 3, H, W) in [-1, 1]. Out: latents (B, 4, H/8, W/8) as the U-Net takes them, scaled as ComfyUI scales them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny

from ....architectures import architecture
from ....architectures.base import diffusers_facts
from ....errors import InvalidInput
from ....models.base_models import VAE_PREFIX
from .checkpoint import Checkpoint, State, put_weights

# Factors between the autoencoder's latents and the U-Net's: v1-inference.yaml and sd_xl_base.yaml of Stability AI.


@dataclass
class Autoencoder:
    """An autoencoder with the two numbers that turn its latents into the U-Net's: `(raw + shift) * scale`."""

    model: AutoencoderKL | AutoencoderTiny
    scale: float
    shift: float = 0.0

    @torch.no_grad()
    def encode(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """Pixels (B, 3, H, W) in [-1, 1] to the U-Net's latents (B, 4, H/8, W/8), in fp32.

        The mode of the latent distribution, not a sample: its spread is far below the noise that training adds, and
        the same picture always gives the same latents.
        """
        parameter = next(self.model.parameters())
        encoded = self.model.encode(pixels_BCHW.to(parameter.device, parameter.dtype))
        raw = encoded.latents if isinstance(self.model, AutoencoderTiny) else encoded.latent_dist.mode()
        latents_BCHW: torch.Tensor = (raw.float() + self.shift) * self.scale
        return latents_BCHW

    @torch.no_grad()
    def decode(self, latents_BCHW: torch.Tensor) -> torch.Tensor:
        """The U-Net's latents back to pixels (B, 3, H, W) in [-1, 1], in fp32."""
        parameter = next(self.model.parameters())
        raw = latents_BCHW.to(parameter.device, torch.float32) / self.scale - self.shift
        pixels_BCHW: torch.Tensor = self.model.decode(raw.to(parameter.dtype)).sample
        return pixels_BCHW.float().clamp(-1, 1)


def load_autoencoder(checkpoint: Checkpoint, family: str, dtype: torch.dtype) -> Autoencoder:
    """The autoencoder of an open checkpoint: Stable Diffusion's own, or a TAESD inside it. Raises InvalidInput."""
    names = checkpoint.names(VAE_PREFIX)
    scale = diffusers_facts(architecture(family)).latent_scale
    if any(name.startswith("taesd_") for name in names):
        with torch.device("meta"):
            tiny = AutoencoderTiny()
        put_weights(tiny, checkpoint.taesd_state(dtype), what="tiny autoencoder")
        # ComfyUI's TAESD (comfy/taesd/taesd.py) hands out `encoded / vae_scale + vae_shift` and the sampler multiplies
        # by the family's factor; trained TAESDs already emit the U-Net's latents, so the two usually cancel out.
        own_scale = checkpoint.number(f"{VAE_PREFIX}vae_scale", 1.0)
        own_shift = checkpoint.number(f"{VAE_PREFIX}vae_shift", 0.0)
        return Autoencoder(tiny, scale / own_scale, own_shift * own_scale)
    state = checkpoint.vae_state(dtype)
    with torch.device("meta"):
        model = AutoencoderKL(**vae_config(state, scale))
    put_weights(model, state, what="autoencoder")
    return Autoencoder(model, scale)


def vae_config(state: State, scale: float) -> dict[str, Any]:
    """The configuration of diffusers' `AutoencoderKL` for weights under diffusers names. Raises InvalidInput."""
    widths: list[int] = []
    blocks = 0
    while f"encoder.down_blocks.{len(widths)}.resnets.0.conv2.weight" in state:
        widths.append(state[f"encoder.down_blocks.{len(widths)}.resnets.0.conv2.weight"].shape[0])
    while f"encoder.down_blocks.0.resnets.{blocks}.conv2.weight" in state:
        blocks += 1
    if not widths or "quant_conv.weight" not in state:
        raise InvalidInput(
            "The autoencoder (VAE) in this checkpoint has a layout that is not known here.",
            "Use a checkpoint with Stable Diffusion's own VAE, or with TAESD.",
        )
    return {
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": state["post_quant_conv.weight"].shape[0],
        "block_out_channels": tuple(widths),
        "down_block_types": ("DownEncoderBlock2D",) * len(widths),
        "up_block_types": ("UpDecoderBlock2D",) * len(widths),
        "layers_per_block": blocks,
        "scaling_factor": scale,
    }
