"""A frozen LoRA that is on while training and no part of the result: sd-scripts' `base_weights`.

In: a network and the tensors of a LoRA file. Out: adapters with a fixed update beside the trained one. For a model that was
distilled to few steps such a "training adapter" undoes the distillation while the character is learned; the LoRA is then used
without it. It stays on where the held-out loss is measured, and is off for samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from ...errors import InvalidInput
from ...models.lora_keys import ALPHA, NAMINGS, layer_path
from .adapters import Beside, LoraModule
from .lora import LoraNetwork

DOWNS, UPS = zip(*NAMINGS, strict=True)


def put_beside(network: LoraNetwork, state: Mapping[str, torch.Tensor], multiplier: float) -> list[str]:
    """Put the file's updates beside the layers that are trained; returns the modules of the file that have no place.

    Raises:
        InvalidInput: none has a place, or one has another shape than its layer.
    """
    file = {layer_path(name): name for name in _modules(state)}
    placed = set()
    for part in network.parts.values():
        for module in part.modules:
            name = file.get(layer_path(module.name))
            if name is not None:
                module.adapter.beside = _beside(state, name, module, multiplier, part.dtype, part.device)
                placed.add(name)
    if not placed:
        raise InvalidInput(
            "The LoRA in base_weights has no layer in common with this model.",
            "Choose the training adapter of this very model, or empty base_weights.",
        )
    return sorted(set(file.values()) - placed)


@contextmanager
def without_base_weights(network: LoraNetwork) -> Iterator[None]:
    """The model as the LoRA will be used on it, for as long as the block lasts."""
    kept = [(module.adapter, module.adapter.beside) for module in network.modules]
    for adapter, _ in kept:
        adapter.beside = None
    try:
        yield
    finally:
        for adapter, beside in kept:
            adapter.beside = beside


def _modules(state: Mapping[str, torch.Tensor]) -> Iterator[str]:
    for key in state:
        for ending in DOWNS:
            if key.endswith(ending):
                yield key.removesuffix(ending)


def _beside(
    state: Mapping[str, torch.Tensor],
    name: str,
    module: LoraModule,
    multiplier: float,
    dtype: torch.dtype,
    device: torch.device,
) -> Beside:
    down = next(state[name + ending] for ending in DOWNS if name + ending in state).float()
    up = next((state[name + ending] for ending in UPS if name + ending in state), torch.empty(0)).float()
    rank, ours, theirs = down.shape[0], module.up_shape, up.shape
    if up.numel() != ours[0] * rank or down[0].shape != module.down_shape[1:]:
        raise InvalidInput(
            f"{name} in base_weights is {tuple(theirs)} by {tuple(down.shape)}, which does not fit its layer.",
            "Choose the training adapter of this very model.",
        )
    alpha = float(state.get(name + ALPHA, torch.tensor(float(rank))))
    up = up.view(ours[0], rank, *ours[2:])
    return (down * (multiplier * alpha / rank)).to(device, dtype), up.to(device, dtype)
