"""Optimisers over flat LoRA weights: one norm, one memset, one all-reduce, and one update kernel for each model.

In: the LoRA's fp32 parameters by group. Out: `FlatWeights`, which lays them and their gradients into one buffer each,
and an `Optimiser` over them. sd-scripts' loop touches each of some 1400 tensors for every one of these.

An optimiser that works element by element sees one parameter for a whole model (`lora.py` makes them so). Adafactor
keeps row and column statistics, so there each matrix is a parameter. AdamW8bit shares one scale among 256 neighbours,
which at a seam are of two matrices.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from ...reasons import reason_of
from ...settings import TrainingSettings
from ..child import ChildFailure
from .schedule import rate_factor, warmup_steps

ALIGNMENT = 256  # elements: every parameter starts on a multiple, as kernels and 8-bit blocks like it
Groups = Sequence[tuple[str, Sequence[torch.nn.Parameter]]]


class FlatWeights:
    """All trained weights in one fp32 buffer of N elements, their gradients in another; parameters become views."""

    def __init__(self, groups: Groups):
        parameters = [parameter for _, group in groups for parameter in group]
        starts, end = [], 0
        for parameter in parameters:
            starts.append(end)
            end += -(-parameter.numel() // ALIGNMENT) * ALIGNMENT
        self.groups = groups
        self._places = [
            (parameter, slice(start, start + parameter.numel()))
            for parameter, start in zip(parameters, starts, strict=True)
        ]
        self.master_N = torch.zeros(end, dtype=torch.float32, device=parameters[0].device)
        self.grad_N = torch.zeros_like(self.master_N)
        for parameter, place in self._places:
            self.master_N[place] = parameter.detach().flatten()
        self._make_views()

    def _make_views(self) -> None:
        """Let every parameter and its gradient be a part of the buffers."""
        for parameter, place in self._places:
            parameter.grad = None  # it may be on another device than what `data` gets now
            parameter.data = self.master_N[place].view(parameter.shape)
            parameter.grad = self.grad_N[place].view(parameter.shape)

    def move(self, device: torch.device) -> None:
        """Take weights and gradients to `device`; parameters stay views. Raises torch's OutOfMemoryError."""
        moved = self.master_N.to(device, copy=True), self.grad_N.to(device, copy=True)
        self.master_N, self.grad_N = moved
        self._make_views()

    @property
    def count(self) -> int:
        """How many weights are trained, without the padding."""
        return sum(parameter.numel() for _, group in self.groups for parameter in group)

    def zero_grad(self) -> None:
        """Clear the gradients, in place: autograd adds into them."""
        self.grad_N.zero_()

    def clip(self, most: float) -> torch.Tensor:
        """Scale the gradient to an L2 norm of at most `most` (0 leaves it); the norm before, on the device."""
        norm: torch.Tensor = torch.linalg.vector_norm(self.grad_N)
        if most:
            self.grad_N.mul_((most / (norm + 1e-6)).clamp(max=1.0))
        return norm

    def are_finite(self) -> bool:
        """Whether every weight is a number. Waits for the device."""
        return bool(torch.isfinite(self.master_N).all())


Options = dict[str, Any]
ParameterGroups = list[dict[str, Any]]


def _adamw(groups: ParameterGroups, settings: TrainingSettings, options: Options) -> Any:
    return torch.optim.AdamW(groups, **{"fused": True, **options})


def _adamw_8bit(groups: ParameterGroups, settings: TrainingSettings, options: Options) -> Any:
    return importlib.import_module("bitsandbytes.optim").AdamW8bit(groups, **options)


def _adafactor(groups: ParameterGroups, settings: TrainingSettings, options: Options) -> Any:
    ours = {"scale_parameter": False, "relative_step": False}  # so that unet_lr means what it says
    return importlib.import_module("transformers.optimization").Adafactor(groups, **{**ours, **options})


def _lion(groups: ParameterGroups, settings: TrainingSettings, options: Options) -> Any:
    return importlib.import_module("lion_pytorch").Lion(groups, **options)


def _prodigy(groups: ParameterGroups, settings: TrainingSettings, options: Options) -> Any:
    return importlib.import_module("prodigyopt").Prodigy(groups, **options)


def _schedule_free(groups: ParameterGroups, settings: TrainingSettings, options: Options) -> Any:
    ours = {"warmup_steps": warmup_steps(settings)}
    return importlib.import_module("schedulefree").AdamWScheduleFree(groups, **{**ours, **options})


OPTIMISERS: dict[str, Callable[[ParameterGroups, TrainingSettings, Options], torch.optim.Optimizer]] = {
    "AdamW": _adamw,
    "AdamW8bit": _adamw_8bit,
    "Adafactor": _adafactor,
    "Lion": _lion,
    "Prodigy": _prodigy,
    "AdamWScheduleFree": _schedule_free,
}


class Optimiser:
    """The chosen optimiser with its schedule; `state` and `load` carry it through a resume, exactly."""

    def __init__(self, weights: FlatWeights, settings: TrainingSettings):
        rates = {"unet": settings.unet_lr, "text_encoder": settings.text_encoder_lr}
        self.weights, self.settings = weights, settings
        self.base_rates = {name: rates[name] for name, _ in weights.groups}
        groups = [{"params": list(group), "lr": self.base_rates[name]} for name, group in weights.groups]
        options = {key: tuple(v) if isinstance(v, list) else v for key, v in settings.optimizer_args.items()}
        try:
            self.inner = OPTIMISERS[settings.optimizer_type](groups, settings, options)
        except ImportError as error:
            raise ChildFailure(
                f"optimizer_type {settings.optimizer_type} can't be used here: {reason_of(error)}.",
                "Install it, or set optimizer_type to AdamW.",
                code="optimiser_package",
            ) from error
        except (TypeError, ValueError, AssertionError) as error:  # how the packages refuse an option
            raise ChildFailure(
                f"optimizer_args {settings.optimizer_args} do not fit {settings.optimizer_type}: {reason_of(error)}.",
                "Correct or empty optimizer_args.",
                code="optimizer_args",
            ) from error
        self._switch_to("train")

    def rates(self, step: int) -> dict[str, float]:
        """The learning rate of each group at optimizer step `step`, counted from 0."""
        return {
            name: base * rate_factor(self.settings, step, base_rate=base)
            for name, base in self.base_rates.items()
        }

    def step(self, step: int, scaler: torch.amp.GradScaler) -> None:
        """Update the weights from their (unscaled) gradients with the rates of `step`."""
        for group, rate in zip(self.inner.param_groups, self.rates(step).values(), strict=True):
            group["lr"] = rate
        scaler.step(self.inner)
        scaler.update()

    def effective_rates(self) -> dict[str, float]:
        """The rates of the last step; for Prodigy times the factor that it has found (`d`)."""
        groups = zip(self.base_rates, self.inner.param_groups, strict=True)
        return {name: group.get("scheduled_lr", group["lr"]) * group.get("d", 1.0) for name, group in groups}

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within the block the weights are those to keep: for schedule-free optimisers the average, else the same.

        The way back restores the saved bytes: interpolating forth and back would not, and a resume would differ.
        """
        if not hasattr(self.inner, "eval"):
            yield
            return
        before_N = self.weights.master_N.clone()
        self._switch_to("eval")
        try:
            yield
        finally:
            self._switch_to("train")
            self.weights.master_N.copy_(before_N)

    def _switch_to(self, mode: str) -> None:
        if hasattr(self.inner, mode):
            getattr(self.inner, mode)()

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """`(tensors by name, plain numbers)`: all that the optimiser remembers."""
        tensors: dict[str, torch.Tensor] = {}
        numbers: dict[str, Any] = {"groups": [], "parameters": []}
        for group in self.inner.param_groups:
            numbers["groups"].append({key: each for key, each in group.items() if _is_number(each)})
            for parameter in group["params"]:
                index, remembered = len(numbers["parameters"]), self.inner.state.get(parameter, {})
                numbers["parameters"].append(
                    {key: each for key, each in remembered.items() if _is_number(each)}
                )
                for key, each in remembered.items():
                    if isinstance(each, torch.Tensor):
                        tensors[f"{index}.{key}"] = each.detach().cpu().clone()
        return tensors, numbers

    def load(self, tensors: dict[str, torch.Tensor], numbers: dict[str, Any]) -> None:
        """Remember what `state` gave, as it is read from JSON. The optimiser must have been made for the same weights and settings.

        Raises ValueError for what is no number.
        """
        index = 0
        for group, plain in zip(self.inner.param_groups, numbers["groups"], strict=True):
            group.update(_in_numbers(plain))
            for parameter in group["params"]:
                prefix = f"{index}."
                found = {
                    key.removeprefix(prefix): each for key, each in tensors.items() if key.startswith(prefix)
                }
                placed = {
                    key: each.to(self._device_of(parameter, key), copy=True) for key, each in found.items()
                }
                remembered = {**placed, **_in_numbers(numbers["parameters"][index])}
                if remembered:
                    self.inner.state[parameter] = remembered
                index += 1

    def _device_of(self, parameter: torch.nn.Parameter, key: str) -> torch.device:
        """torch keeps `step` on the CPU unless the kernel is fused; everything else lies beside its weights."""
        on_cpu = key == "step" and not any(group.get("fused") for group in self.inner.param_groups)
        return torch.device("cpu") if on_cpu else parameter.device


def _is_number(value: Any) -> bool:
    return isinstance(value, (bool, int, float)) and not (isinstance(value, float) and math.isnan(value))


def _in_numbers(plain: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity, as Prodigy's `growth_rate` is one: it comes as a word."""
    return {key: float(each) if isinstance(each, str) else each for key, each in plain.items()}
