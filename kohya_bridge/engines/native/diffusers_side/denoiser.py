"""One call of the U-Net, for SD 1.x and SDXL alike.

In: noisy latents, timesteps, the text's outputs. Out: what the model says. The frozen model computes in its own number
format; no autocast re-casts the same tensors for every consumer.

Shapes: B batch, C latent channels, H and W latent height and width, T tokens, D text width, P pooled width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Conditioning:
    """What the text encoders say of B captions: `pooled_BP` only for SDXL."""

    hidden_BTD: torch.Tensor
    pooled_BP: torch.Tensor | None = None

    def to(self, device: torch.device, dtype: torch.dtype) -> Conditioning:
        pooled = None if self.pooled_BP is None else self.pooled_BP.to(device, dtype)
        return Conditioning(self.hidden_BTD.to(device, dtype), pooled)

    def last(self, count: int) -> Conditioning:
        """The conditioning of the last `count` captions."""
        pooled = None if self.pooled_BP is None else self.pooled_BP[-count:]
        return Conditioning(self.hidden_BTD[-count:], pooled)

    def repeated(self, count: int) -> Conditioning:
        """The conditioning of one caption for `count` items."""
        pooled = None if self.pooled_BP is None else self.pooled_BP.expand(count, -1)
        return Conditioning(self.hidden_BTD.expand(count, -1, -1), pooled)


@dataclass(frozen=True)
class Denoiser:
    """The U-Net with whatever LoRA is in it."""

    unet: Any
    dtype: torch.dtype

    def __call__(
        self,
        noisy_BCHW: torch.Tensor,
        timesteps_B: torch.Tensor,
        conditioning: Conditioning,
        time_ids_B6: torch.Tensor,
    ) -> torch.Tensor:
        """The model's answer, (B, C, H, W) in its number format. `time_ids_B6` counts for SDXL only."""
        added = None
        if conditioning.pooled_BP is not None:
            added = {"text_embeds": conditioning.pooled_BP.to(self.dtype), "time_ids": time_ids_B6}
        answer: torch.Tensor = self.unet(
            noisy_BCHW.to(self.dtype),
            timesteps_B,
            encoder_hidden_states=conditioning.hidden_BTD.to(self.dtype),
            added_cond_kwargs=added,
            return_dict=False,
        )[0]
        return answer
