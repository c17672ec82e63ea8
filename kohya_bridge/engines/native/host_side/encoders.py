"""Pictures and captions to what a model of the host's takes, by the host's own VAE and text encoders.

In: pixels, captions. Out: latents in the model's scale, conditions as the host's sampler hands them on. Emphasis syntax is not
read: brackets in a caption are brackets. Each tensor of a condition keeps the form that the host gave it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ...child import ChildFailure
from ...training.model import Condition


@dataclass(frozen=True)
class HostEncoders:
    """See `training.model.Encoders`. Parts that were not asked for are None."""

    vae: Any
    clip: Any
    latent_format: Any

    @torch.no_grad()
    def latents(self, pixels_B3HW: torch.Tensor) -> torch.Tensor:
        raw = self.vae.encode((pixels_B3HW.movedim(1, -1) + 1.0) / 2.0)
        latents: torch.Tensor = self.latent_format.process_in(raw.float())
        return latents

    @torch.no_grad()
    def pixels(self, latents_BCHW: torch.Tensor) -> torch.Tensor:
        decoded = self.vae.decode(self.latent_format.process_out(latents_BCHW.cpu()))
        if decoded.dim() == 5:  # a video of one frame
            decoded = decoded[:, 0]
        pixels_B3HW: torch.Tensor = (decoded.movedim(-1, 1).float() * 2.0 - 1.0).clamp(-1, 1)
        return pixels_B3HW

    def tokens(self, captions: Sequence[str]) -> list[Any]:
        return [_unweighted(self.clip, caption) for caption in captions]

    def conditions(self, tokens: Any) -> Condition:
        raise ChildFailure(
            "Captions that change at every step can't be encoded beside a model of ComfyUI's.",
            "Set cache_text_encoder_outputs to true, shuffle_caption and caption_tag_dropout_rate off.",
            code="text_cache",
        )

    @torch.no_grad()
    def caption(self, caption: str) -> Condition:
        ((hidden, more),) = self.clip.encode_from_tokens_scheduled(self.tokens([caption])[0])
        tensors = {name: value for name, value in more.items() if torch.is_tensor(value)}
        strange = [name for name, value in more.items() if name not in tensors and value is not None]
        if strange:
            raise ChildFailure(
                f"The text encoder of this ComfyUI says {', '.join(strange)}, which can't be kept in a cache.",
                "Update this pack; until then choose another model family.",
                code="text_cache",
            )
        return {"cross_attn": hidden, **tensors}

    def modules(self) -> list[torch.nn.Module]:
        return []


def _unweighted(clip: Any, caption: str) -> Any:
    """The caption's tokens with brackets as brackets. Some tokenizers see to that themselves and take no word of it."""
    try:
        return clip.tokenize(caption, disable_weights=True)
    except TypeError as error:
        if "multiple values" not in str(error):
            raise
        return clip.tokenize(caption)


class NoEncoders:
    """Where every step finds its encodings in the cache."""

    def latents(self, pixels_B3HW: torch.Tensor) -> torch.Tensor:
        raise _uncached()

    def pixels(self, latents_BCHW: torch.Tensor) -> torch.Tensor:
        raise _uncached()

    def tokens(self, captions: Sequence[str]) -> Any:
        raise _uncached()

    def conditions(self, tokens: Any) -> Condition:
        raise _uncached()

    def caption(self, caption: str) -> Condition:
        raise _uncached()

    def modules(self) -> list[torch.nn.Module]:
        return []


def _uncached() -> ChildFailure:
    return ChildFailure(
        "Pictures and captions of this family are encoded before the training, and something was not.",
        "Set cache_latents and cache_text_encoder_outputs to true.",
        code="no_cache",
    )
