"""What one micro-batch feeds to the model, made ahead of time on the CPU.

In: a micro-batch number. Out: a `Batch` in (pinned) CPU memory: latents or pixels, noise, times, and the text's
outputs or token ids. The number decides everything, so a thread may prepare the next one while the device computes.

Shapes: B batch, C latent channels, H and W latent height and width (a frame axis may stand between).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch

from ...datasets.buckets import Placement
from ...settings import TrainingSettings
from ...trigger import without
from .conditioning import Conditioning
from .data import Item, Pick, Picker, load_pixels
from .model import Condition
from .objective import Objective
from .randomness import Purpose, stream


@dataclass(frozen=True)
class Batch:
    """The input of one forward pass. Either `clean_BCHW` or `pixels_BCHW`, either `conditioning` or `tokens` is there.

    Where the base model's answers are preserved, texts are those of 2 B captions: behind the batch's own stand the same
    without the trigger, and `preserved_B` is 1 where they differ and 0 where they don't.
    """

    noise_BCHW: torch.Tensor
    times_B: torch.Tensor
    time_ids_B6: torch.Tensor
    clean_BCHW: torch.Tensor | None = None
    pixels_BCHW: torch.Tensor | None = None
    conditioning: Conditioning | None = None
    tokens: Any = None
    preserved_B: torch.Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The batch on the device; from pinned memory this does not wait."""
        if device.type == "cpu":
            return self
        return self.mapped(lambda tensor: tensor.to(device, non_blocking=True))

    def mapped(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        """The batch with `change` done to every tensor but token ids."""
        changed: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, torch.Tensor):
                changed[each.name] = change(value)
            elif isinstance(value, Conditioning):
                changed[each.name] = value.mapped(change)
        return replace(self, **changed)


@dataclass(frozen=True)
class Sources:
    """Where a batch's parts come from. `latents` and `text` answer from the cache, or are None: then pixels or tokens
    are handed over and the loop encodes them."""

    latents: Callable[[Item, bool], torch.Tensor] | None
    """(item, flipped) to (C, H, W)."""
    text: Callable[[str], Condition] | None
    """Caption to what the text encoders say of it."""
    tokenize: Callable[[list[str]], Any] | None = None
    """Captions to token ids."""


@dataclass(frozen=True)
class BatchMaker:
    """Makes any micro-batch from its number."""

    picker: Picker
    settings: TrainingSettings
    sources: Sources
    objective: Objective
    latent_shape: Callable[[Placement], tuple[int, ...]]
    pin: bool = False
    left_out: str = ""
    """The trigger, where answers to captions without it are to be preserved."""
    per_step: int = 1
    """Micro-batches of one optimizer step, of all processes together."""

    def make(self, micro_batch: int) -> Batch:
        picks = self.picker.picks(micro_batch)
        shape = self.latent_shape(picks[0].item.placement)
        numbers = range(len(picks))
        batch = Batch(
            noise_BCHW=torch.from_numpy(
                np.stack([self._noise(shape, micro_batch, each) for each in numbers])
            ),
            times_B=torch.tensor([self._time(shape, micro_batch, each) for each in numbers]),
            time_ids_B6=torch.tensor([time_ids(pick.item.placement) for pick in picks], dtype=torch.float32),
            **self._pictures(picks),
            **self._captions([pick.caption for pick in picks], preserving=self._preserves(micro_batch)),
        )
        return batch.mapped(lambda tensor: tensor.pin_memory()) if self.pin else batch

    def _pictures(self, picks: list[Pick]) -> dict[str, Any]:
        if self.sources.latents:
            return {
                "clean_BCHW": torch.stack([self.sources.latents(each.item, each.flipped) for each in picks])
            }
        return {"pixels_BCHW": torch.stack([pixels(each.item, flipped=each.flipped) for each in picks])}

    def _preserves(self, micro_batch: int) -> bool:
        """Whether it is of a step at which the base model's answers are kept."""
        step = micro_batch // self.per_step
        return bool(self.left_out) and step % self.settings.diff_output_preservation_every_n_steps == 0

    def _captions(self, captions: list[str], *, preserving: bool) -> dict[str, Any]:
        if not preserving:
            return self._texts(captions)
        plain = [without(caption, self.left_out) for caption in captions]
        differs = [float(one != other) for one, other in zip(captions, plain, strict=True)]
        return {**self._texts([*captions, *plain]), "preserved_B": torch.tensor(differs)}

    def _texts(self, captions: list[str]) -> dict[str, Any]:
        if self.sources.text is None:
            return {"tokens": self.sources.tokenize(captions) if self.sources.tokenize else None}
        return {"conditioning": Conditioning.of([self.sources.text(caption) for caption in captions])}

    def _noise(self, shape: tuple[int, ...], micro_batch: int, index: int) -> np.ndarray:
        """Gaussian noise (C, H, W), shifted per channel by `noise_offset` times another Gaussian."""
        rng = stream(self.settings.seed, Purpose.NOISE, micro_batch, index)
        noise = rng.standard_normal(shape, dtype=np.float32)
        if self.settings.noise_offset:
            offset = rng.standard_normal((shape[0], *(1,) * (len(shape) - 1)), dtype=np.float32)
            noise += np.float32(self.settings.noise_offset) * offset
        return noise

    def _time(self, shape: tuple[int, ...], micro_batch: int, index: int) -> float:
        return self.objective.draw(stream(self.settings.seed, Purpose.TIMESTEP, micro_batch, index), shape)


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
