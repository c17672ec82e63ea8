"""The LoRA network: low-rank updates beside the frozen weights of a base model.

In: a model that names its targets, and the plan's settings. Out: a `LoraNetwork` whose parameters an optimiser can take.
Scaling and initialisation are sd-scripts' (networks/lora.py), so that its files and ours are interchangeable; targets and their
names are the model's.

It is a lean network of its own instead of peft's, for speed (`adapters.py` has the figures); tests hold the two equal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch

from ...errors import InvalidInput
from ...models.lora_keys import in_naming_of, layer, modules_of
from ...models.lora_kinds import refuse_unread
from ...settings import TrainingSettings
from .adapters import LoraModule, LoraPart
from .model import Adaptable, Target


class Trainable(Protocol):
    """All that is asked of a model here."""

    def targets(self, settings: TrainingSettings) -> dict[str, Adaptable]: ...


class LoraNetwork:
    """All LoRA weights of one training. `parts` holds the U-Net and, where they are trained, the text encoders."""

    def __init__(self, parts: dict[str, LoraPart]):
        self.parts = parts

    @property
    def modules(self) -> list[LoraModule]:
        return [module for part in self.parts.values() for module in part.modules]

    def groups(self) -> list[tuple[str, list[torch.nn.Parameter]]]:
        """`("unet" | "text_encoder", fp32 parameters)`: what an optimiser takes, with a rate for each name."""
        text = [each for name, part in self.parts.items() if name != "unet" for each in part.parameters]
        groups = [("unet", self.parts["unet"].parameters)]
        return [*groups, ("text_encoder", text)] if text else groups

    def parameters(self) -> list[torch.nn.Parameter]:
        return [parameter for _, parameters in self.groups() for parameter in parameters]

    def state(self) -> dict[str, torch.Tensor]:
        """Every weight under its key in a LoRA file, as fp32 copies in main memory, in the order of the modules."""
        found = {
            module.key(kind): tensor
            for part in self.parts.values()
            for module, kind, tensor in part.matrices()
        }
        state: dict[str, torch.Tensor] = {}
        for module in self.modules:
            for kind in ("down", "up"):
                key = module.key(kind)
                state[key] = found[key].detach().to("cpu", torch.float32, copy=True).contiguous()
            state[module.key("alpha")] = torch.tensor(module.alpha, dtype=torch.float32)
        return state

    @contextmanager
    def silent(self) -> Iterator[None]:
        """The base model alone answers, for as long as the block lasts."""
        adapters = [module.adapter for module in self.modules]
        for adapter in adapters:
            adapter.silent = True
        try:
            yield
        finally:
            for adapter in adapters:
                adapter.silent = False

    @torch.no_grad()
    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Take over exactly the weights that `state()` gave. Raises InvalidInput when keys or shapes differ."""
        _check_same_keys(self.state(), state)
        for part in self.parts.values():
            for module, kind, master in part.matrices():
                master.copy_(state[module.key(kind)])

    @torch.no_grad()
    def start_from(self, state: dict[str, torch.Tensor]) -> list[str]:
        """Begin with the weights of a LoRA file; returns the names of its modules that this network doesn't have.

        Where the file's alpha differs, `up` is rescaled, so that the start has exactly the file's effect. Modules that
        the file lacks keep their fresh start. Raises InvalidInput when no module fits or a rank differs.
        """
        file = modules_of(state)
        refuse_unread(state, "The LoRA to start from")
        file_layers = {layer(name): name for name in file}
        ours = {layer(module.name): module.name for module in self.modules}
        if not file_layers.keys() & ours.keys():
            raise InvalidInput(
                "The LoRA to start from has no layer in common with this training.",
                f"It must be a LoRA for the same model family, with key names such as {min(ours.values())}.",
            )
        ours_of = dict(in_naming_of((key for each in self.modules for key in each.all_keys()), state))
        state = {mine: state[theirs] for mine, theirs in ours_of.items()}
        for part in self.parts.values():
            for module, kind, master in part.matrices():
                if module.key(kind) in state:
                    master.copy_(_fitted(state, module, kind, master.shape))
        return sorted(name for each, name in file_layers.items() if each not in ours)


def add_lora(
    model: Trainable, settings: TrainingSettings, *, seed: int, flat: bool | None = None
) -> LoraNetwork:
    """Put a fresh LoRA network on `model`; its effect is nothing until it is trained.

    The same seed gives the same weights, bit for bit, on every device. `flat` is chosen by the optimiser when None.
    """
    if flat is None:
        flat = settings.optimizer_type != "Adafactor"
    parts: dict[str, LoraPart] = {}
    for name, of in model.targets(settings).items():
        modules = [_adapted(target, of, settings) for target in of.targets]
        parts[name] = LoraPart(of.root, modules, flat=flat, dtype=of.dtype, device=of.device)
    network = LoraNetwork(parts)
    _initialise(network, seed)
    return network


@torch.no_grad()
def _initialise(network: LoraNetwork, seed: int) -> None:
    """kaiming_uniform(a=sqrt(5)) for down, that is U(-1/sqrt(fan_in), 1/sqrt(fan_in)), and zeros for up."""
    generator = torch.Generator("cpu").manual_seed(seed)
    for part in network.parts.values():
        masters = {(module.name, kind): tensor for module, kind, tensor in part.matrices()}
        for module in part.modules:
            shape = module.down_shape
            bound = 1 / math.sqrt(math.prod(shape[1:]))
            drawn = torch.empty(shape).uniform_(-bound, bound, generator=generator)
            masters[module.name, "down"].copy_(drawn)
            masters[module.name, "up"].zero_()


def _adapted(target: Target, of: Adaptable, settings: TrainingSettings) -> LoraModule:
    """Put an adapter before the layer. 3x3 convolutions have a rank and alpha of their own."""
    layer = target.layer
    wide = isinstance(layer, torch.nn.Conv2d) and layer.kernel_size != (1, 1)
    return LoraModule(
        target.name,
        target.adapt(layer, settings.network_dropout),
        settings.conv_dim if wide else settings.network_dim,
        settings.conv_alpha if wide else settings.network_alpha,
        of.down,
        of.up,
    )


def _fitted(state: dict[str, torch.Tensor], module: LoraModule, kind: str, shape: torch.Size) -> torch.Tensor:
    tensor = state[module.key(kind)].float()
    rank = tensor.shape[0 if kind == "down" else 1]
    if rank != module.rank:
        setting = "conv_dim" if module.down_shape[2:] not in ((), (1, 1)) else "network_dim"
        raise InvalidInput(
            f"The LoRA to start from has rank {rank}, {setting} is {module.rank}.",
            f"Set {setting} to {rank}.",
        )
    if tensor.numel() != math.prod(shape):
        raise InvalidInput(
            f"The LoRA to start from does not fit this model: {module.name} has another size.",
            "Choose a LoRA that was trained on a model of the same shape.",
        )
    if kind == "up":
        alpha = state.get(module.key("alpha"))
        file_scale = (float(alpha) if alpha is not None else rank) / rank
        tensor = tensor * (file_scale / module.scale)
    return tensor.view(shape)


def _check_same_keys(ours: dict[str, torch.Tensor], given: dict[str, torch.Tensor]) -> None:
    wrong = sorted(ours.keys() ^ given.keys())
    wrong += [key for key in ours.keys() & given.keys() if ours[key].shape != given[key].shape]
    if wrong:
        raise InvalidInput(
            f"The saved LoRA weights do not belong to this training: {', '.join(wrong[:3])}.",
            "Resume a run only with its own states.",
        )
