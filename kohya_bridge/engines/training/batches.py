"""What one micro-batch feeds to the model, made ahead of time on the CPU.

In: a micro-batch number. Out: a `Batch` in (pinned) CPU memory: latents or pixels, noise, timesteps, and the text's
outputs or token ids. The number decides everything, so a thread may prepare the next one while the device computes.

Shapes: B batch, C latent channels, H and W latent height and width, T tokens, D text width, P pooled width.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch

from ...architectures.base import Architecture
from ...captions import without_trigger
from ...datasets.buckets import Placement
from ...settings import TrainingSettings
from .data import Item, Pick, Picker, load_pixels
from .randomness import Purpose, stream


@dataclass(frozen=True)
class Batch:
    """The input of one forward pass. Either `clean_BCHW` or `pixels_BCHW`, either `hidden_BTD` or `tokens` is there.

    Where the base model's answers are preserved, texts are those of 2 B captions: behind the batch's own stand the same
    without the trigger, and `preserved_B` is 1 where they differ and 0 where they don't.
    """

    noise_BCHW: torch.Tensor
    timesteps_B: torch.Tensor
    time_ids_B6: torch.Tensor
    clean_BCHW: torch.Tensor | None = None
    pixels_BCHW: torch.Tensor | None = None
    hidden_BTD: torch.Tensor | None = None
    pooled_BP: torch.Tensor | None = None
    tokens: Any = None
    preserved_B: torch.Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The batch on the device; from pinned memory this does not wait."""
        if device.type == "cpu":
            return self
        moved = {
            each.name: value.to(device, non_blocking=True)
            for each in fields(self)
            if isinstance(value := getattr(self, each.name), torch.Tensor)
        }
        return replace(self, **moved)


@dataclass(frozen=True)
class Sources:
    """Where a batch's parts come from. `latents` and `text` answer from the cache, or are None: then pixels or tokens
    are handed over and the loop encodes them."""

    latents: Callable[[Item, bool], torch.Tensor] | None
    """(item, flipped) to (C, H, W)."""
    text: Callable[[str], tuple[torch.Tensor, torch.Tensor | None]] | None
    """Caption to ((T, D), (P,) or None)."""
    tokenize: Callable[[list[str]], Any] | None = None
    """Captions to token ids."""


@dataclass(frozen=True)
class BatchMaker:
    """Makes any micro-batch from its number."""

    picker: Picker
    settings: TrainingSettings
    sources: Sources
    family: Architecture
    latent_channels: int = 4
    pin: bool = False
    left_out: str = ""
    """The trigger, where answers to captions without it are to be preserved."""

    def make(self, micro_batch: int) -> Batch:
        picks = self.picker.picks(micro_batch)
        noise = [self._noise(pick.item.placement, micro_batch, index) for index, pick in enumerate(picks)]
        batch = Batch(
            noise_BCHW=torch.from_numpy(np.stack(noise)),
            timesteps_B=torch.tensor([self._timestep(micro_batch, index) for index in range(len(picks))]),
            time_ids_B6=torch.tensor([time_ids(pick.item.placement) for pick in picks], dtype=torch.float32),
            **self._pictures(picks),
            **self._captions([pick.caption for pick in picks]),
        )
        return _pinned(batch) if self.pin else batch

    def _pictures(self, picks: list[Pick]) -> dict[str, Any]:
        if self.sources.latents:
            return {
                "clean_BCHW": torch.stack([self.sources.latents(each.item, each.flipped) for each in picks])
            }
        return {"pixels_BCHW": torch.stack([pixels(each.item, flipped=each.flipped) for each in picks])}

    def _captions(self, captions: list[str]) -> dict[str, Any]:
        if not self.left_out:
            return self._texts(captions)
        plain = [without_trigger(caption, self.left_out) for caption in captions]
        differs = [float(one != other) for one, other in zip(captions, plain, strict=True)]
        return {**self._texts([*captions, *plain]), "preserved_B": torch.tensor(differs)}

    def _texts(self, captions: list[str]) -> dict[str, Any]:
        if self.sources.text is None:
            return {"tokens": self.sources.tokenize(captions) if self.sources.tokenize else None}
        hidden, pooled = zip(*(self.sources.text(caption) for caption in captions), strict=True)
        found: dict[str, Any] = {"hidden_BTD": torch.stack(hidden)}
        if pooled[0] is not None:
            found["pooled_BP"] = torch.stack(pooled)
        return found

    def _noise(self, placement: Placement, micro_batch: int, index: int) -> np.ndarray:
        """Gaussian noise (C, H, W), shifted per channel by `noise_offset` times another Gaussian."""
        rng = stream(self.settings.seed, Purpose.NOISE, micro_batch, index)
        shape = latent_shape(placement, self.family, self.latent_channels)
        noise = rng.standard_normal(shape, dtype=np.float32)
        if self.settings.noise_offset:
            offset = rng.standard_normal((shape[0], 1, 1), dtype=np.float32)
            noise += np.float32(self.settings.noise_offset) * offset
        return noise

    def _timestep(self, micro_batch: int, index: int) -> int:
        rng = stream(self.settings.seed, Purpose.TIMESTEP, micro_batch, index)
        return int(rng.integers(self.settings.min_timestep, self.settings.max_timestep))


def latent_shape(placement: Placement, family: Architecture, channels: int) -> tuple[int, int, int]:
    """(C, H, W) of the picture's latents."""
    width, height = placement.bucket
    return channels, height // family.latent_stride, width // family.latent_stride


def pixels(item: Item, *, flipped: bool = False) -> torch.Tensor:
    """The picture as the VAE takes it: (3, height, width) fp32 in [-1, 1]."""
    picture = load_pixels(item)
    picture = picture[:, ::-1] if flipped else picture
    return torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1).contiguous() / 127.5 - 1.0


def time_ids(placement: Placement) -> tuple[int, ...]:
    """SDXL's size conditioning (Podell et al. 2023, section 2.2): original height and width, what was cut off at the
    top and left, and the trained height and width."""
    (width, height), (bucket_width, bucket_height) = placement.original, placement.bucket
    return height, width, placement.crop_top, placement.crop_left, bucket_height, bucket_width


def _pinned(batch: Batch) -> Batch:
    tensors = {each.name: getattr(batch, each.name) for each in fields(batch)}
    return replace(batch, **{k: v.pin_memory() for k, v in tensors.items() if isinstance(v, torch.Tensor)})


class Ahead:
    """Hands out micro-batches in order while one thread, `batches`, already makes the next one."""

    def __init__(self, make: Callable[[int], Batch], first: int, *, stride: int = 1):
        self._make, self._stride = make, stride
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._number = first
        self._next: Future[Batch] = self._thread.submit(make, first)

    def take(self) -> Batch:
        batch = self._next.result()
        self._number += self._stride
        self._next = self._thread.submit(self._make, self._number)
        return batch

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
