"""Whether this ComfyUI's gradients are right for a model, by finite differences.

In: a model of the host's, latents and a condition. Out: a `Verdict`. Adapters beside all layers get random weights; along the
gradient of a few of them the answer's slope is measured from two forward passes on either side. A run with recomputed blocks
(gradient checkpointing) must give the same gradient, bit for bit. ComfyUI's models are written for drawing: an update may bend
a gradient without a word, so it is checked, not believed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ....settings import TrainingSettings
from ...training.lora import LoraNetwork, add_lora
from .model import HostModel

MATRICES = 6  # layers that are measured, spread over the model
STEPS = (
    1e-2,
    2e-3,
    4e-4,
)  # of the differences, in parts of a matrix' norm: a good gradient agrees at one of them,
# also where experts are routed by the input and a large step takes another road
CLOSE = 1e-3  # near enough that no smaller step is tried
TOLERANCE, ROUNDED_TOLERANCE = 0.03, 0.15
"""How far a slope may be off: in fp32, and for a base whose answers are rounded to few bits at every layer."""
TIMES = (0.3, 0.7)
KEPT_BLOCKS = 2


@dataclass(frozen=True)
class Verdict:
    """What was found. `worst` is the largest relative error of a slope, `recomputed_equal` whether checkpointing changes nothing."""

    layers: int
    without_gradient: int
    measured: int
    worst: float
    worst_layer: str
    recomputed_equal: bool

    def problem(self, *, rounded: bool) -> str:
        """What is wrong, as the end of a sentence; empty when the gradients are right."""
        if not self.measured:
            return "no layer of it gets a gradient"
        if self.worst > (ROUNDED_TOLERANCE if rounded else TOLERANCE):
            return f"the gradient along {self.worst_layer} is off by {self.worst:.0%}"
        return "" if self.recomputed_equal else "recomputing blocks changes them"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def check_gradients(
    make: Callable[[], HostModel], latents_CHW: torch.Tensor, condition: Mapping[str, torch.Tensor]
) -> Verdict:
    """Check the model that `make` loads, twice: plain, and with recomputed blocks."""
    plain = _Bench(make(), latents_CHW, condition, recomputed=False)
    gradient = plain.gradient()
    verdict = plain.measured(gradient)
    del plain
    again = _Bench(make(), latents_CHW, condition, recomputed=True).gradient()
    equal = all(one.equal(again[name]) for name, one in gradient.items())
    return Verdict(**{**asdict(verdict), "recomputed_equal": equal})


class _Bench:
    """A model with random adapters, an input, and a direction of its answer to look at."""

    def __init__(
        self,
        model: HostModel,
        latents_CHW: torch.Tensor,
        condition: Mapping[str, torch.Tensor],
        *,
        recomputed: bool,
    ):
        settings = TrainingSettings(network_dim=2, network_alpha=2.0, gradient_checkpointing=recomputed)
        draw = torch.Generator().manual_seed(3)
        self.model = model
        self.network: LoraNetwork = add_lora(model, settings, seed=5, flat=False)
        for module, kind, master in self.network.parts["unet"].matrices():
            if kind == "up":
                drawn = torch.randn(module.up_shape, generator=draw) * 0.2
                master.copy_(drawn.to(master.device))
        model.arrange(settings)
        count, device = len(TIMES), model.device
        self.condition = {k: torch.stack([v] * count).to(device) for k, v in condition.items()}
        objective = model.objective(settings, device)
        self.times_B = torch.tensor([objective.time_at(round(1000 * each)) for each in TIMES], device=device)
        clean = latents_CHW.float().expand(count, *latents_CHW.shape).to(device)
        noise = torch.randn(clean.shape, generator=draw).to(device)
        self.noisy = objective.noisy(clean, noise, self.times_B)
        self.direction = torch.randn(clean.shape, generator=draw).to(device)
        edges = [latents_CHW.shape[-2] * 8, latents_CHW.shape[-1] * 8]
        self.sizes = torch.tensor([[*edges, 0, 0, *edges]] * count, dtype=torch.float32, device=device)

    def answer(self) -> torch.Tensor:
        return self.model.predict(self.noisy, self.times_B, self.condition, self.sizes)

    def gradient(self) -> dict[str, torch.Tensor]:
        """Of the answer's part in the direction, by key in a LoRA file; no entry where there is none."""
        torch.autograd.backward((self.answer().float() * self.direction).sum())
        return {
            key: parameter.grad.detach().clone()
            for key, parameter in self._parameters()
            if parameter.grad is not None and float(parameter.grad.norm()) > 0
        }

    def _parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        part = self.network.parts["unet"]
        for (module, kind, _), parameter in zip(part.matrices(), part.parameters, strict=True):
            yield module.key(kind), parameter

    @torch.no_grad()
    def measured(self, gradient: Mapping[str, torch.Tensor]) -> Verdict:
        names = [module.name for module in self.network.modules]
        alive = [module for module in self.network.modules if module.key("up") in gradient]
        chosen = alive[:: max(1, -(-len(alive) // MATRICES))]
        parameters = dict(self._parameters())
        errors = [
            (self._error(parameters[module.key(kind)], gradient[module.key(kind)]), module.name)
            for module in chosen
            for kind in ("up", "down")
            if module.key(kind) in gradient
        ]
        worst, layer = max(errors, default=(0.0, ""))
        return Verdict(len(names), len(names) - len(alive), len(errors), worst, layer, True)

    def _error(self, parameter: torch.nn.Parameter, gradient: torch.Tensor) -> float:
        slope = float(gradient.norm())
        direction = gradient / gradient.norm()
        before = parameter.detach().clone()
        found = []
        for share in STEPS:
            step = share * float(before.norm())
            parameter.copy_(before + step * direction)
            above = self.answer().double()
            parameter.copy_(before - step * direction)
            below = self.answer().double()
            parameter.copy_(before)
            measured = float(((above - below) * self.direction).sum()) / (2 * step)
            found.append(abs(measured / slope - 1.0))
            if found[-1] < CLOSE:
                break
        return min(found)


def shortened(tensors: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """A diffusion model's tensors without the blocks after the second of each list: the host counts blocks when it makes a
    model of a file, so that it makes a shallow one."""
    return {
        name: tensor
        for name, tensor in tensors.items()
        if _block_number(name.removeprefix(prefix)) < KEPT_BLOCKS
    }


def _block_number(name: str) -> int:
    parts = name.split(".")
    return int(parts[1]) if len(parts) > 2 and parts[1].isdigit() else 0
