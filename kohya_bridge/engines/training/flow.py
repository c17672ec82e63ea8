"""The objective of flow models (rectified flow: Liu et al. 2022; Esser et al. 2024, arXiv 2403.03206): time, density, weight.

In: clean latents, noise, a time from 0 (picture) to 1 (noise), which is also the share of noise ("sigma"). Out: noisy latents,
the velocity `noise - clean`, a loss. Settings have sd-scripts' names and meanings (library/flux_train_utils.py,
library/sd3_train_utils.py); `auto` is what the sampler does: uniform steps of its own time, moved by the family's shift.

Shapes: B batch, C latent channels, H and W latent height and width (a frame axis may stand between).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from ...settings import TrainingSettings

LATENT_PATCH = 2  # latents along an edge that FLUX sees as one token
FLUX_SHIFT_TOKENS = (256, 4096)
FLUX_SHIFT_MU = (0.5, 1.15)  # black-forest-labs/flux sampling.py, get_schedule
EARLIEST, LATEST = (
    1e-4,
    1.0 - 1e-4,
)  # at the very ends nothing can be learned: all picture, or an answer that is known


@dataclass(frozen=True)
class FlowObjective:
    """`shift` is the family's own: the sampler at share t of its way stands at `shift t / (1 + (shift - 1) t)`."""

    shift: float
    sampling: str = "auto"
    discrete_flow_shift: float = 0.0
    weighting: str = "none"
    logit_mean: float = 0.0
    logit_std: float = 1.0
    sigmoid_scale: float = 1.0
    mode_scale: float = 1.29
    first: float = 0.0
    end: float = 1.0
    """Trained times lie between `first` and `end`."""

    def draw(self, rng: np.random.Generator, latent_shape: tuple[int, ...]) -> float:
        """A random time of the density that is asked for. A draw outside of the trained times is squeezed into them."""
        time = self._drawn(rng, latent_shape)
        return float(np.clip(self.first + (self.end - self.first) * time, EARLIEST, LATEST))

    def _drawn(self, rng: np.random.Generator, latent_shape: tuple[int, ...]) -> float:
        if self.sampling == "auto":
            return shifted(float(rng.random()), self.chosen_shift)
        if self.sampling == "uniform":
            return float(rng.random())
        if self.sampling == "sigma":
            return shifted(self._density(rng), self.chosen_shift)
        time = sigmoid(self.sigmoid_scale * float(rng.standard_normal()))
        if self.sampling == "shift":
            return shifted(time, self.chosen_shift)
        if self.sampling == "flux_shift":
            return shifted(time, resolution_shift(latent_shape))
        return time  # sigmoid

    def _density(self, rng: np.random.Generator) -> float:
        """SD3's densities (Esser et al. 2024, section 3.1), as `compute_density_for_timestep_sampling` of diffusers."""
        if self.weighting == "logit_normal":
            return sigmoid(self.logit_mean + self.logit_std * float(rng.standard_normal()))
        u = float(rng.random())
        if self.weighting == "mode":
            return 1 - u - self.mode_scale * (math.cos(math.pi * u / 2) ** 2 - 1 + u)
        return u

    @property
    def chosen_shift(self) -> float:
        """The shift of one's own, else the family's."""
        return self.discrete_flow_shift or self.shift

    def time_at(self, thousandths: int) -> float:
        return shifted(thousandths / 1000, self.shift)

    def sampling_times(self, steps: int) -> list[float]:
        return [shifted(1 - number / steps, self.shift) for number in range(steps)]

    def noisy(
        self, clean_BCHW: torch.Tensor, noise_BCHW: torch.Tensor, times_B: torch.Tensor
    ) -> torch.Tensor:
        time = _beside(times_B, clean_BCHW)
        return time * noise_BCHW + (1 - time) * clean_BCHW

    def target(
        self, clean_BCHW: torch.Tensor, noise_BCHW: torch.Tensor, times_B: torch.Tensor
    ) -> torch.Tensor:
        """The velocity from picture to noise."""
        return noise_BCHW - clean_BCHW

    def weighted(self, loss_B: torch.Tensor, times_B: torch.Tensor) -> torch.Tensor:
        return (loss_B * self.weight(times_B)).mean()

    def weight(self, times_B: torch.Tensor) -> torch.Tensor:
        """`sigma_sqrt` and `cosmap` weigh times (`compute_loss_weighting_for_sd3` of diffusers); the other schemes are densities."""
        if self.weighting == "sigma_sqrt":
            return times_B**-2.0
        if self.weighting == "cosmap":
            return 2 / (math.pi * (1 - 2 * times_B + 2 * times_B**2))
        return torch.ones_like(times_B)

    def clean(self, said_BCHW: torch.Tensor, noisy_BCHW: torch.Tensor, times_B: torch.Tensor) -> torch.Tensor:
        return noisy_BCHW - _beside(times_B, noisy_BCHW) * said_BCHW

    def noise(self, said_BCHW: torch.Tensor, noisy_BCHW: torch.Tensor, times_B: torch.Tensor) -> torch.Tensor:
        return noisy_BCHW + (1 - _beside(times_B, noisy_BCHW)) * said_BCHW


def make_flow_objective(settings: TrainingSettings, *, shift: float) -> FlowObjective:
    """The objective of these settings for a family whose sampler has that shift."""
    return FlowObjective(
        shift=shift,
        sampling=settings.timestep_sampling,
        discrete_flow_shift=settings.discrete_flow_shift,
        weighting=settings.weighting_scheme,
        logit_mean=settings.logit_mean,
        logit_std=settings.logit_std,
        sigmoid_scale=settings.sigmoid_scale,
        mode_scale=settings.mode_scale,
        first=settings.min_timestep / 1000,
        end=settings.max_timestep / 1000,
    )


def shifted(time: float, shift: float) -> float:
    """`shift t / (1 + (shift - 1) t)` (Esser et al. 2024, equation 23); FLUX's `mu` is the logarithm of this shift."""
    return shift * time / (1 + (shift - 1) * time)


def resolution_shift(latent_shape: tuple[int, ...]) -> float:
    """FLUX's shift for latents of this size: more noise for more tokens."""
    tokens = math.prod(-(-edge // LATENT_PATCH) for edge in latent_shape[-2:])
    (few, many), (low, high) = FLUX_SHIFT_TOKENS, FLUX_SHIFT_MU
    return math.exp(low + (high - low) * (tokens - few) / (many - few))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _beside(times_B: torch.Tensor, latents_BCHW: torch.Tensor) -> torch.Tensor:
    return times_B.view(-1, *(1,) * (latents_BCHW.dim() - 1))
