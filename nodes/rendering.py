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

    latent = torch.zeros(latent_shape(model, vae, sampling))
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
    pixels = vae.decode(sampled["samples"])
    return to_picture(pixels.reshape(-1, *pixels.shape[-3:])[0])  # a VAE of videos has a frame axis


def latent_shape(model: Any, vae: Any, sampling: Sampling) -> list[int]:
    """Of an empty latent, as the family's own latent node makes it; ComfyUI adds the frame axis where one is needed."""
    channels = int(model.get_model_object("latent_format").latent_channels)
    stride = int(vae.spacial_compression_encode())
    return [1, channels, sampling.height_px // stride, sampling.width_px // stride]


def to_picture(pixels_HWC: Any) -> Image.Image:
    """A tensor of an IMAGE batch (H, W, 3), 0 to 1, as a picture; rounded down as Save Image does."""
    return Image.fromarray((pixels_HWC.cpu().numpy() * 255.0).clip(0, 255).astype("uint8"))


def to_image(pictures: list[Image.Image]) -> Any:
    """Pictures of one size as an IMAGE batch (B, H, W, 3), 0 to 1."""
    import numpy
    import torch

    arrays = [numpy.asarray(each.convert("RGB"), dtype="float32") / 255.0 for each in pictures]
    return torch.from_numpy(numpy.stack(arrays))
