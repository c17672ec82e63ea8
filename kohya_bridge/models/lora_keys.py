"""How LoRA files name their matrices: kohya's way and peft's.

In: nothing. Out: the endings of keys, pure names. kohya's modules are paths with `_` for every dot behind `lora_unet_`; peft's are
dotted paths behind `diffusion_model.`, as the host loads them. Both carry an alpha; ComfyUI reads both for every family.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

ALPHA = ".alpha"


class Naming(NamedTuple):
    """What follows a module's name."""

    down: str
    up: str


KOHYA = Naming(".lora_down.weight", ".lora_up.weight")
PEFT = Naming(".lora_A.weight", ".lora_B.weight")
NAMINGS = (KOHYA, PEFT)
PEFT_PREFIX = "diffusion_model"
PREFIXES = ("lora_unet_", "lora_transformer_", "diffusion_model_", "transformer_")
"""Beginnings of a denoiser's modules, with `_` for every dot."""


def naming_of(keys: Iterable[str]) -> Naming | None:
    """The naming in which most pairs of a file are written; None for no LoRA of these kinds."""
    keys = list(keys)
    counts = {naming: sum(key.endswith(naming.down) for key in keys) for naming in NAMINGS}
    best = max(NAMINGS, key=lambda naming: counts[naming])
    return best if counts[best] else None


def layer_path(module: str) -> str:
    """A denoiser's layer whatever the naming: its path with `_` for every dot."""
    flat = module.replace(".", "_")
    for prefix in PREFIXES:
        if flat.startswith(prefix):
            return flat.removeprefix(prefix)
    return flat
