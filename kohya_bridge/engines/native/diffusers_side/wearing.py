"""A LoRA file on a loaded base model for a while: its update is added to the frozen weights, and taken away exactly.

In: a `Base`, a LoRA with kohya's names, a strength. Out: the same `Base` with changed weights inside a `with` block. The
originals are put back from copies, not by subtraction, so the base model renders the same pixels before and after.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ....architectures import architecture
from ....architectures.base import diffusers_facts
from ....counted import counted
from ....errors import InvalidInput
from ....models.lora_keys import KOHYA, Part, layer, modules_of
from ....models.lora_kinds import refuse_unread
from ...training.lora_file import read_lora
from .ldm_keys import translate, unet_modules
from .models import Base
from .unet import shape_of_unet

Layer = torch.nn.Linear | torch.nn.Conv2d


@contextmanager
def wearing(base: Base, file: Path, strength: float) -> Iterator[None]:
    """`base` with the LoRA in `file` at `strength`, for as long as the block lasts.

    Raises:
        InvalidInput: a module of the LoRA has no place in this model, or another shape; nothing was changed then.
    """
    state, _ = read_lora(file)
    layers = layers_by_key(base)
    modules = modules_of(state)
    refuse_unread(state, file.name)
    unknown = [name for name in modules if layer(name) not in layers]
    if unknown:
        raise InvalidInput(
            f"{len(unknown)} of {counted(len(modules), 'module')} of {file.name} {'has' if len(unknown) == 1 else 'have'} no place in this base model, such as {unknown[0]}.",
            "Use the base model, or one of the family, that it was trained on.",
        )
    weights = {name: layers[layer(name)].weight for name in modules}
    updates = {
        name: _update({part: state[key] for part, key in parts.items()}, name, weights[name])
        for name, parts in modules.items()
    }
    originals = {name: weight.detach().clone() for name, weight in weights.items()}
    with torch.no_grad():
        for name, update in updates.items():
            weights[name].copy_(originals[name].float() + strength * update)
    try:
        yield
    finally:
        with torch.no_grad():
            for name, original in originals.items():
                weights[name].copy_(original)


def layers_by_key(base: Base) -> dict[str, Layer]:
    """Every Linear and Conv2d of U-Net and text encoders by `layer` of its name in a kohya file."""
    found: dict[str, Layer] = {}
    if base.unet is not None:
        to_ldm = {}
        if diffusers_facts(architecture(base.family)).original_names:
            to_ldm = {ours: theirs for theirs, ours in unet_modules(shape_of_unet(base.unet)).items()}
        for name, module in _weighted(base.unet):
            key = translate(name, to_ldm) if to_ldm else name
            if key is not None:
                found[layer(KOHYA.module(key))] = module
    if base.text is not None:
        for prefix, encoder in zip(
            architecture(base.family).text_encoder_prefixes, base.text.encoders, strict=True
        ):
            for name, module in _weighted(encoder):
                found[layer(f"{prefix}_text_model.{name.removeprefix('text_model.')}")] = module
    return found


def _weighted(root: Any) -> Iterator[tuple[str, Layer]]:
    for name, module in root.named_modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
            yield name, module


def _update(tensors: dict[Part, torch.Tensor], name: str, weight: torch.Tensor) -> torch.Tensor:
    """alpha / rank * up @ down in the layer's shape, fp32 (LoRA paper, section 4.1; scaling as sd-scripts)."""
    if not {"down", "up"} <= tensors.keys():
        raise InvalidInput(f"{name} has only one of its two matrices.", "Take a LoRA that is whole.")
    down, up = tensors["down"].float(), tensors["up"].float()
    rank = down.shape[0]
    alpha = float(tensors.get("alpha", rank))
    update = (up.reshape(up.shape[0], -1) @ down.reshape(rank, -1)) * (alpha / rank)
    if update.numel() != weight.numel():
        raise InvalidInput(
            f"{name} has {counted(update.numel(), 'weight')} in the LoRA and {weight.numel():,} in the base model.",
            "Use the base model that the LoRA was trained on.",
        )
    return update.reshape(weight.shape).to(weight.device)
