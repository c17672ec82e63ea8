"""The held-out measure, taken from upstream's own validation loop.

In: each prediction of that loop (one picture at one fixed timestep with fixed noise). Out: the fields of a `validation`
event, defined as the native engine defines them: mean squared error unweighted, its 95 % interval over the pictures, PSNR of
the latents that one answer implies with the picture's own range as peak, and the same loss for as many trained pictures.
The held-out pictures come first, then the trained probe: `staging` lays both out, batch size 1, never shuffled.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from typing import Any

from ...selection import mean_interval


@dataclass
class HeldOut:
    """Collects one validation pass. `items` is the number of held-out pictures."""

    items: int
    _batch: Any = None
    _errors: list[list[float]] = field(default_factory=list)
    _psnrs: list[float] = field(default_factory=list)

    def take(
        self, batch: Any, prediction: Any, target: Any, latents: Any, *, clean_error: float | None
    ) -> None:
        """One picture at one timestep. `clean_error` is the factor from the error to that of the implied latents."""
        if batch is not self._batch:
            self._batch = batch
            self._errors.append([])
        error = float((prediction.float() - target.float()).square().mean())
        self._errors[-1].append(error)
        if len(self._errors) <= self.items and clean_error is not None:
            peak = float(latents.max() - latents.min())
            self._psnrs.append(10 * math.log10(max(peak, 1e-12) ** 2 / max(error * clean_error, 1e-12)))

    def finish(self) -> dict[str, Any] | None:
        """The fields of the event, or None when nothing was measured. Ready for the next pass afterwards."""
        held, probe = self._errors[: self.items], self._errors[self.items :]
        psnrs = self._psnrs
        self._batch, self._errors, self._psnrs = None, [], []
        if not held:
            return None
        loss, low, high = mean_interval([statistics.fmean(each) for each in held])
        alone = len(held) == 1
        return {
            "loss": loss,
            "loss_low": None if alone else low,
            "loss_high": None if alone else high,
            "psnr": statistics.fmean(psnrs) if psnrs else None,
            "train_loss": statistics.fmean(statistics.fmean(each) for each in probe) if probe else None,
            "items": len(held),
            "cells": [round(error, 7) for each in held for error in each],
        }


def clean_error_factor(scheduler: Any, timesteps: Any, *, velocity: bool) -> float | None:
    """What the squared error of a prediction is multiplied by to be that of the clean latents it implies.

    With the cumulative alpha `a`: (1 - a) / a for predicted noise, 1 - a for predicted velocity (Salimans & Ho 2022). None
    for flow models, whose scheduler has no alphas.
    """
    alphas = getattr(scheduler, "alphas_cumprod", None)
    if alphas is None:
        return None
    alpha = float(alphas[int(timesteps.flatten()[0])])
    return 1 - alpha if velocity else (1 - alpha) / max(alpha, 1e-8)
