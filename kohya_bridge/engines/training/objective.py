"""What a model is trained to say: noising, target, and the weight of each time; and the objective of eps and v models.

In: clean latents, noise, times. Out: noisy latents, the target, a loss. Formulas: DDPM (Ho et al. 2020),
v-prediction (Salimans & Ho 2022), min-SNR (Hang et al. 2023, arXiv 2303.09556), zero terminal SNR (Lin et al. 2023,
arXiv 2305.08891). The tests compare them with diffusers. Flow models have theirs in `flow.py`.

Shapes: B batch, C latent channels, H and W latent height and width (a frame axis may stand between), N training timesteps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from ...settings import TrainingSettings

# Stable Diffusion's schedule; a checkpoint's scheduler config may say otherwise.
SD_SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}


class Objective(Protocol):
    """What the trainer asks of an objective. A time is whatever the objective says: a timestep's number or a share of noise."""

    def draw(self, rng: np.random.Generator, latent_shape: tuple[int, ...]) -> float:
        """A random time for one item."""

    def time_at(self, thousandths: int) -> float:
        """The time at so many thousandths of the sampler's way from picture (0) to noise (1000)."""

    def sampling_times(self, steps: int) -> list[float]:
        """The times of a sample with so many steps, from noise on."""

    def noisy(
        self, clean_BCHW: torch.Tensor, noise_BCHW: torch.Tensor, times_B: torch.Tensor
    ) -> torch.Tensor:
        """The picture at its time, (B, C, H, W)."""

    def target(
        self, clean_BCHW: torch.Tensor, noise_BCHW: torch.Tensor, times_B: torch.Tensor
    ) -> torch.Tensor:
        """What the model should say, (B, C, H, W)."""

    def weighted(self, loss_B: torch.Tensor, times_B: torch.Tensor) -> torch.Tensor:
        """The scalar that is minimised."""

    def clean(self, said_BCHW: torch.Tensor, noisy_BCHW: torch.Tensor, times_B: torch.Tensor) -> torch.Tensor:
        """The picture that the model's answer implies in one step (x0 prediction), (B, C, H, W)."""

    def noise(self, said_BCHW: torch.Tensor, noisy_BCHW: torch.Tensor, times_B: torch.Tensor) -> torch.Tensor:
        """The noise that it implies, (B, C, H, W)."""


def loss_B(said_BCHW: torch.Tensor, target_BCHW: torch.Tensor) -> torch.Tensor:
    """Mean squared error of each item in fp32, unweighted, (B,)."""
    square = (said_BCHW.float() - target_BCHW.float()).square()
    return square.mean(dim=tuple(range(1, square.dim())))


@dataclass(frozen=True)
class DiscreteObjective:
    """eps and v models: per-timestep tables, (N,) fp32 each on the training device; indexing them costs no host sync."""

    signal_N: torch.Tensor
    """Square root of the cumulative alpha: the share of the picture."""
    noise_N: torch.Tensor
    """Square root of 1 - cumulative alpha: the share of the noise."""
    weight_N: torch.Tensor
    """Loss weight."""
    v_prediction: bool
    first: int = 0
    end: int = 1000
    """Trained timesteps are those from `first` to before `end`."""

    def draw(self, rng: np.random.Generator, latent_shape: tuple[int, ...]) -> int:
        """A timestep, each as likely as any."""
        return int(rng.integers(self.first, self.end))

    def time_at(self, thousandths: int) -> int:
        return min(thousandths, len(self.signal_N) - 1)

    def sampling_times(self, steps: int) -> list[float]:
        """Timesteps in diffusers' "trailing" spacing (Lin et al. 2023, table 2)."""
        count = len(self.signal_N)
        return [round(count - number * count / steps) - 1 for number in range(steps)]

    def noisy(
        self, clean_BCHW: torch.Tensor, noise_BCHW: torch.Tensor, times_B: torch.Tensor
    ) -> torch.Tensor:
        """The picture at its timestep, (B, C, H, W)."""
        return _each(self.signal_N, times_B) * clean_BCHW + _each(self.noise_N, times_B) * noise_BCHW

    def target(
        self, clean_BCHW: torch.Tensor, noise_BCHW: torch.Tensor, times_B: torch.Tensor
    ) -> torch.Tensor:
        """What the model should say: the noise, or the velocity, (B, C, H, W)."""
        if not self.v_prediction:
            return noise_BCHW
        return _each(self.signal_N, times_B) * noise_BCHW - _each(self.noise_N, times_B) * clean_BCHW

    def weighted(self, loss_B: torch.Tensor, times_B: torch.Tensor) -> torch.Tensor:
        """The scalar that is minimised."""
        return (loss_B * self.weight_N[times_B]).mean()

    def clean(self, said_BCHW: torch.Tensor, noisy_BCHW: torch.Tensor, times_B: torch.Tensor) -> torch.Tensor:
        """The picture that the model's answer implies in one step (x0 prediction), (B, C, H, W)."""
        signal, noise = _each(self.signal_N, times_B), _each(self.noise_N, times_B)
        if self.v_prediction:
            return signal * noisy_BCHW - noise * said_BCHW
        return (noisy_BCHW - noise * said_BCHW) / signal

    def noise(self, said_BCHW: torch.Tensor, noisy_BCHW: torch.Tensor, times_B: torch.Tensor) -> torch.Tensor:
        """The noise that it implies, (B, C, H, W)."""
        if not self.v_prediction:
            return said_BCHW
        return _each(self.signal_N, times_B) * said_BCHW + _each(self.noise_N, times_B) * noisy_BCHW


def make_objective(
    settings: TrainingSettings,
    scheduler: Mapping[str, Any] | None = None,
    *,
    device: torch.device | str = "cpu",
) -> DiscreteObjective:
    """The objective of these settings. `scheduler` is a diffusers scheduler config; missing keys are SD's."""
    alphas_N = cumulative_alphas({**SD_SCHEDULE, **(scheduler or {})})
    if settings.zero_terminal_snr:
        alphas_N = rescale_to_zero_terminal_snr(alphas_N)
    v_prediction = settings.prediction_type == "v_prediction"
    return DiscreteObjective(
        signal_N=alphas_N.sqrt().to(device),
        noise_N=(1.0 - alphas_N).sqrt().to(device),
        weight_N=min_snr_weights(alphas_N, settings.min_snr_gamma, v_prediction=v_prediction).to(device),
        v_prediction=v_prediction,
        first=settings.min_timestep,
        end=settings.max_timestep,
    )


def cumulative_alphas(scheduler: Mapping[str, Any]) -> torch.Tensor:
    """The cumulative product of 1 - beta, (N,) fp32.

    Raises:
        ValueError: the config names a beta schedule other than scaled_linear and linear.
    """
    first, last, count = scheduler["beta_start"], scheduler["beta_end"], scheduler["num_train_timesteps"]
    if scheduler["beta_schedule"] == "scaled_linear":
        betas_N = torch.linspace(first**0.5, last**0.5, count, dtype=torch.float32) ** 2
    elif scheduler["beta_schedule"] == "linear":
        betas_N = torch.linspace(first, last, count, dtype=torch.float32)
    else:
        raise ValueError(f"unknown beta schedule {scheduler['beta_schedule']!r}")
    return torch.cumprod(1.0 - betas_N, dim=0)


def rescale_to_zero_terminal_snr(alphas_N: torch.Tensor) -> torch.Tensor:
    """Shift and scale the schedule so that the last timestep is pure noise (Lin et al. 2023, algorithm 1)."""
    root_N = alphas_N.sqrt()
    first, last = root_N[0].clone(), root_N[-1].clone()
    return ((root_N - last) * first / (first - last)).square()


def min_snr_weights(alphas_N: torch.Tensor, gamma: float, *, v_prediction: bool) -> torch.Tensor:
    """min(SNR, gamma) / SNR, or / (SNR + 1) for v-prediction, (N,); all ones when `gamma` is 0."""
    if not gamma:
        return torch.ones_like(alphas_N)
    snr_N = alphas_N / (1.0 - alphas_N)
    return snr_N.clamp(max=gamma) / (snr_N + 1.0 if v_prediction else snr_N)


def _each(table_N: torch.Tensor, times_B: torch.Tensor) -> torch.Tensor:
    return table_N[times_B].view(-1, 1, 1, 1)
