"""Pictures out of ComfyUI's own sampler, one at a time, as KSampler and VAE Decode make them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PIL import Image


@dataclass(frozen=True)
class Sampling:
    """How to sample; the names are ComfyUI's."""

    width_px: int
    height_px: int
    steps: int
    cfg: float
    sampler: str
    scheduler: str


def sampler_names() -> list[str]:
    import comfy.samplers

    return list(comfy.samplers.KSampler.SAMPLERS)


def scheduler_names() -> list[str]:
    import comfy.samplers

    return list(comfy.samplers.KSampler.SCHEDULERS)


def encode(clip: Any, text: str) -> Any:
    """`text` as conditioning, as CLIP Text Encode makes it."""
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def render(
    model: Any, vae: Any, *, positive: Any, negative: Any, seed: int, sampling: Sampling
) -> Image.Image:
    """One picture. The same arguments give the same pixels as KSampler and VAE Decode with them."""
    import torch

    import nodes as comfy_nodes

    latent = torch.zeros([1, 4, sampling.height_px // 8, sampling.width_px // 8])
    (sampled,) = comfy_nodes.common_ksampler(
        model,
        seed,
        sampling.steps,
        sampling.cfg,
        sampling.sampler,
        sampling.scheduler,
        positive,
        negative,
        {"samples": latent},
    )
    return to_picture(vae.decode(sampled["samples"])[0])


def to_picture(pixels_HWC: Any) -> Image.Image:
    """A tensor of an IMAGE batch (H, W, 3), 0 to 1, as a picture; rounded down as Save Image does."""
    return Image.fromarray((pixels_HWC.cpu().numpy() * 255.0).clip(0, 255).astype("uint8"))


def to_image(pictures: list[Image.Image]) -> Any:
    """Pictures of one size as an IMAGE batch (B, H, W, 3), 0 to 1."""
    import numpy
    import torch

    arrays = [numpy.asarray(each.convert("RGB"), dtype="float32") / 255.0 for each in pictures]
    return torch.from_numpy(numpy.stack(arrays))
