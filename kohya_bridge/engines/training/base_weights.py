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
from ...models.lora_keys import Part, layer, modules_of
from ...models.lora_kinds import refuse_unread
from .adapters import Beside, LoraModule
from .lora import LoraNetwork


def put_beside(network: LoraNetwork, state: Mapping[str, torch.Tensor], multiplier: float) -> list[str]:
    """Put the file's updates beside the layers that are trained; returns the modules of the file that have no place.

    Raises:
        InvalidInput: none has a place, or one has another shape than its layer.
    """
    modules = modules_of(state)
    refuse_unread(state, "The LoRA in base_weights")
    file = {layer(name): name for name in modules}
    placed = set()
    for part in network.parts.values():
        for module in part.modules:
            name = file.get(layer(module.name))
            if name is not None:
                tensors = {kind: state[key] for kind, key in modules[name].items()}
                module.adapter.beside = _beside(tensors, name, module, multiplier, part.dtype, part.device)
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


def _beside(
    tensors: Mapping[Part, torch.Tensor],
    name: str,
    module: LoraModule,
    multiplier: float,
    dtype: torch.dtype,
    device: torch.device,
) -> Beside:
    down, up = (tensors.get(part, torch.empty(0)).float() for part in ("down", "up"))
    rank, ours, theirs = (down.shape or (0,))[0], module.up_shape, up.shape
    if not rank or up.numel() != ours[0] * rank or down[0].shape != module.down_shape[1:]:
        raise InvalidInput(
            f"{name} in base_weights is {tuple(theirs)} by {tuple(down.shape)}, which does not fit its layer.",
            "Choose the training adapter of this very model.",
        )
    alpha = float(tensors.get("alpha", rank))
    up = up.view(ours[0], rank, *ours[2:])
    return (down * (multiplier * alpha / rank)).to(device, dtype), up.to(device, dtype)
