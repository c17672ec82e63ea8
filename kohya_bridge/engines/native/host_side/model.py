"""A model of the host's as the trainer sees it: raw answers, adapters beside its layers, blocks that can be recomputed.

In: the host's `BaseModel`. Out: `training.model.TrainableModel`. Everything between noisy latents and raw answer is the host's
own; of the host's objects only methods are shadowed, nothing is replaced. There is no code for any one family.

Shapes: B batch, C latent channels, H and W latent height and width (a frame axis may stand between).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from ....datasets.buckets import Placement
from ....errors import InvalidInput
from ....models.lora_keys import PEFT
from ....settings import TrainingSettings
from ...training.adapters import Adapter, CallingAdapter
from ...training.flow import make_flow_objective, shifted
from ...training.model import Adaptable, Encoders, Target
from ...training.objective import DiscreteObjective, Objective, make_objective
from .blocks import checkpoint_blocks, copy_before_writing
from .conditions import joined_conditions
from .encoders import NoEncoders
from .frozen import frozen


class HostModel:
    """See `training.model.TrainableModel`."""

    def __init__(
        self,
        model: Any,
        *,
        dtype: torch.dtype,
        device: torch.device,
        stride: int,
        guidance: float,
        conditions: Mapping[str, Any] | None = None,
    ):
        """`stride` is pixels a latent, `conditions` what the family wants told beside a caption (such as `guidance`)."""
        self.model, self.dtype, self.device = model, dtype, device
        self.stride, self.guidance = stride, guidance
        self.conditions = dict(conditions or {})
        self.encoders: Encoders = NoEncoders()
        self._sampling = model.model_sampling
        self._sampling.calculate_denoised = lambda sigma, said, noisy: said  # the raw answer, not x0
        for _, layer in linear_layers(self.network):
            layer.forward = frozen(layer)
        copy_before_writing(self.network)

    @property
    def network(self) -> Any:
        return self.model.diffusion_model

    @property
    def is_flow(self) -> bool:
        return "CONST" in _kinds(self._sampling)

    def objective(self, settings: TrainingSettings, device: torch.device) -> Objective:
        if self.is_flow:
            return make_flow_objective(settings, shift=sampler_shift(self._sampling))
        return self._discrete(settings, device)

    def _discrete(self, settings: TrainingSettings, device: torch.device) -> DiscreteObjective:
        kinds = _kinds(self._sampling)
        if not kinds & {"EPS", "V_PREDICTION"} or not hasattr(self._sampling, "sigmas"):
            raise InvalidInput(
                f"A model with the parameterisation {'/'.join(sorted(kinds))} can't be trained here.",
                "Choose a flow, epsilon or v-prediction model.",
            )
        stated = "v_prediction" if "V_PREDICTION" in kinds else "epsilon"
        return make_objective(settings.model_copy(update={"prediction_type": stated}), device=device)

    def predict(
        self,
        noisy_BCHW: torch.Tensor,
        times_B: torch.Tensor,
        condition: Mapping[str, torch.Tensor],
        sizes_B6: torch.Tensor,
    ) -> torch.Tensor:
        sizes = self._sizes(noisy_BCHW, sizes_B6)
        named = joined_conditions(self.model, noisy_BCHW, condition, sizes, self.conditions)
        if named is None:
            each = [slice(at, at + 1) for at in range(len(noisy_BCHW))]
            alone = [
                self.predict(
                    noisy_BCHW[at], times_B[at], {k: v[at] for k, v in condition.items()}, sizes_B6[at]
                )
                for at in each
            ]
            return torch.cat(alone)
        sigmas_B, scaled_BCHW = self._as_sampled(noisy_BCHW, times_B)
        said: torch.Tensor = self.model.apply_model(scaled_BCHW, sigmas_B, transformer_options={}, **named)
        return said

    def _sizes(self, noisy_BCHW: torch.Tensor, sizes_B6: torch.Tensor) -> list[list[int]]:
        """The size conditioning of each item. Only U-Nets heed it; for the others it is made up without asking the device."""
        if not self.is_flow:
            return [[int(each) for each in row] for row in sizes_B6.tolist()]
        edges = [edge * self.stride for edge in noisy_BCHW.shape[-2:]]
        return [[*edges, 0, 0, *edges]] * len(noisy_BCHW)

    def _as_sampled(
        self, noisy_BCHW: torch.Tensor, times_B: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Sigmas and latents in the host's own scale: for eps and v noise is added to the picture there, not mixed with it."""
        if self.is_flow:
            return times_B.float(), noisy_BCHW
        sigmas_B = self._sampling.sigmas.to(times_B.device)[times_B].float()
        return sigmas_B, noisy_BCHW * (sigmas_B**2 + 1.0).sqrt().view(-1, *(1,) * (noisy_BCHW.dim() - 1))

    def targets(self, settings: TrainingSettings) -> dict[str, Adaptable]:
        found = [
            Target(PEFT.module(name), layer, _stand_before) for name, layer in linear_layers(self.network)
        ]
        return {"unet": Adaptable(self.network, found, self.dtype, self.device, PEFT.down, PEFT.up)}

    def arrange(self, settings: TrainingSettings) -> None:
        """Only what is trained has a training mode: the host's models draw nothing at random."""
        self.network.eval()
        if settings.gradient_checkpointing:
            checkpoint_blocks(self.network)

    def latent_shape(self, placement: Placement) -> tuple[int, ...]:
        width, height = placement.bucket
        layout = self.model.latent_format
        frames = (1,) if getattr(layout, "latent_dimensions", 2) == 3 else ()
        return layout.latent_channels, *frames, height // self.stride, width // self.stride

    def modules(self) -> list[torch.nn.Module]:
        return [self.model]


def linear_layers(network: Any) -> Iterator[tuple[str, Any]]:
    """Every Linear with its dotted name, in whatever number format: the host's classes all have that name."""
    for name, layer in network.named_modules():
        if type(layer).__name__ == "Linear" and getattr(layer, "weight", None) is not None:
            yield name, layer


def sampler_shift(sampling: Any) -> float:
    """The shift of the sampler's own time, read off its middle and checked elsewhere.

    Raises:
        InvalidInput: its time follows another curve.
    """
    middle = float(sampling.percent_to_sigma(0.5))
    shift = middle / (1.0 - middle)
    for percent in (0.1, 0.25, 0.75, 0.9):
        if abs(float(sampling.percent_to_sigma(percent)) - shifted(1.0 - percent, shift)) > 2e-3:
            raise InvalidInput(
                "The sampler of this model has a time of its own, which is not known here.",
                "Choose a model of another family.",
            )
    return shift


def _kinds(sampling: Any) -> set[str]:
    return {each.__name__ for each in type(sampling).__mro__}


def _stand_before(layer: Any, dropout: float) -> Adapter:
    """An adapter that shadows the layer's `forward`: some code of the host's reads a layer's weight, or asks for its class."""
    adapter = CallingAdapter(layer, dropout=dropout, compute=layer.forward)
    layer.forward = adapter.forward
    return adapter
