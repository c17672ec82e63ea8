"""The held-out measure: how well the model denoises pictures that it is not trained on, always under the same dice.

In: the model as it is. Out: a `Measure`. Noise and timesteps are fixed by `validation_seed` and the picture, so two
measurements differ only by what was learned between them. Timesteps are those of sd-scripts' validation (200, 400, 600,
800), for a flow model those thousandths of the sampler's own time. The loss is the unweighted mean squared error; PSNR is that of the clean latents which one answer implies (x0
prediction), in latent space, over all cells, with a peak of 2 (scaled latents have about unit variance): decoding would
cost more than it tells.

Shapes: B the timesteps measured at once, C latent channels, H and W latent height and width.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from ...selection import mean_interval
from .batches import time_ids
from .conditioning import Conditioning, answers
from .data import Item
from .model import TrainableModel
from .objective import Objective, loss_B
from .randomness import Purpose, stream

TIMESTEPS = (200, 400, 600, 800)
LATENT_PEAK = 2.0


@dataclass(frozen=True)
class Measure:
    """One measurement. `cells` are the losses of every picture and timestep, in fixed order."""

    step: int
    loss: float
    loss_low: float | None
    loss_high: float | None
    psnr: float
    train_loss: float | None
    items: int
    cells: tuple[float, ...]
    measured_on: str
    """Digest of pictures, captions, sizes and noise: measurements with the same one differ by the model alone."""

    def event(self) -> dict[str, Any]:
        """The fields of a `validation` event."""
        return {**self.__dict__, "cells": [round(cell, 7) for cell in self.cells]}


@dataclass(frozen=True)
class HeldOut:
    """Measures `items`, and beside them as many trained ones, `probe`."""

    items: Sequence[Item]
    probe: Sequence[Item]
    seed: int
    model: TrainableModel
    objective: Objective
    latents: Callable[[Item], torch.Tensor]
    """Item to (C, H, W)."""
    condition: Callable[[str], Conditioning]
    """Caption to a conditioning of one."""
    device: torch.device
    at_once: int = 1

    @torch.no_grad()
    def measure(self, step: int) -> Measure:
        """Measure now; the model must be in eval mode. Waits for the device once, at the end."""
        cells, clean_errors = self._cells(self.items)
        trained = self._cells(self.probe)[0] if self.probe else None
        by_item = np.array(cells).reshape(len(self.items), len(TIMESTEPS)).mean(axis=1)
        loss, low, high = mean_interval(by_item.tolist())
        alone = len(self.items) == 1
        return Measure(
            step=step,
            loss=loss,
            loss_low=None if alone else low,
            loss_high=None if alone else high,
            psnr=10.0 * math.log10(LATENT_PEAK**2 / max(float(np.mean(clean_errors)), 1e-12)),
            train_loss=None if trained is None else float(np.mean(trained)),
            items=len(self.items),
            cells=tuple(cells),
            measured_on=self.measured_on,
        )

    @cached_property
    def measured_on(self) -> str:
        items = [(each.sha256, each.caption, each.placement.bucket) for each in self.items]
        times = tuple(self.objective.time_at(step) for step in TIMESTEPS)
        return hashlib.sha256(repr((items, self.seed, times)).encode()).hexdigest()[:16]

    def _cells(self, items: Sequence[Item]) -> tuple[list[float], list[float]]:
        """Losses, and errors of the implied clean latents, of every item at every timestep, item by item."""
        found = [self._item(item, TIMESTEPS[i : i + self.at_once]) for item in items
                 for i in range(0, len(TIMESTEPS), self.at_once)]  # fmt: skip
        losses, clean_errors = torch.cat([torch.stack(pair) for pair in found], dim=1).cpu().tolist()
        return losses, clean_errors

    def _item(self, item: Item, steps: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        count = len(steps)
        clean_CHW = self.latents(item).to(self.device)
        clean_BCHW = clean_CHW.expand(count, *clean_CHW.shape)
        noise_BCHW = torch.stack([self._noise(item, step, clean_BCHW[0].shape) for step in steps]).to(
            self.device
        )
        times_B = torch.tensor([self.objective.time_at(step) for step in steps], device=self.device)
        noisy_BCHW = self.objective.noisy(clean_BCHW, noise_BCHW, times_B)
        sizes_B6 = torch.tensor([time_ids(item.placement)] * count, dtype=torch.float32, device=self.device)
        said_BCHW = answers(
            self.model, noisy_BCHW, times_B, self.condition(item.caption).repeated(count), sizes_B6
        ).float()
        target_BCHW = self.objective.target(clean_BCHW, noise_BCHW, times_B)
        implied_BCHW = self.objective.clean(said_BCHW, noisy_BCHW, times_B)
        return loss_B(said_BCHW, target_BCHW), loss_B(implied_BCHW, clean_BCHW)

    def _noise(self, item: Item, step: int, shape: torch.Size) -> torch.Tensor:
        rng = stream(self.seed, Purpose.HELD_OUT_NOISE, step, int(item.sha256[:12], 16))
        return torch.from_numpy(rng.standard_normal(tuple(shape), dtype=np.float32))
