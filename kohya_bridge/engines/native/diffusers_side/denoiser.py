"""One call of the U-Net, for SD 1.x and SDXL alike.

In: noisy latents, timesteps, the text's outputs. Out: what the model says. The frozen model computes in its own number
format; no autocast re-casts the same tensors for every consumer.

Shapes: B batch, C latent channels, H and W latent height and width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def denoise(
    unet: Any,
    dtype: torch.dtype,
    noisy_BCHW: torch.Tensor,
    timesteps_B: torch.Tensor,
    condition: Mapping[str, torch.Tensor],
    sizes_B6: torch.Tensor,
) -> torch.Tensor:
    """The answer of the U-Net with whatever LoRA is in it, (B, C, H, W) in its number format.

    `condition` holds `hidden` (B, T, D) and for SDXL `pooled` (B, P); `sizes_B6` counts for SDXL only.
    """
    added = None
    if "pooled" in condition:
        added = {"text_embeds": condition["pooled"].to(dtype), "time_ids": sizes_B6}
    answer: torch.Tensor = unet(
        noisy_BCHW.to(dtype),
        timesteps_B,
        encoder_hidden_states=condition["hidden"].to(dtype),
        added_cond_kwargs=added,
        return_dict=False,
    )[0]
    return answer
