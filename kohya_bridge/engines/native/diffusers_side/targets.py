"""Which layers of SD 1.x and SDXL a LoRA stands beside, and their names in a kohya file.

In: a loaded base and the plan's settings. Out: `Adaptable`s. Targets and names are sd-scripts' (networks/lora.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ....architectures import architecture
from ....architectures.base import diffusers_facts
from ....models.lora_keys import KOHYA
from ....settings import TrainingSettings
from ...training.adapters import Adapter, ConvAdapter, LinearAdapter
from ...training.model import Adaptable, Target
from .ldm_keys import translate, unet_modules
from .unet import shape_of_unet

if TYPE_CHECKING:
    from .models import Base

ATTENTION_TARGETS = ("Transformer2DModel",)
CONVOLUTION_TARGETS = ("ResnetBlock2D", "Downsample2D", "Upsample2D")
TEXT_TARGETS = ("CLIPAttention", "CLIPSdpaAttention", "CLIPMLP")


def targets(base: Base, settings: TrainingSettings) -> dict[str, Adaptable]:
    """The text encoders where they are trained, then the U-Net."""
    assert base.unet is not None, "load_base was asked to leave the U-Net out"
    found: dict[str, Adaptable] = {}
    if not settings.network_train_unet_only:
        assert base.text is not None, "load_base was asked to leave the text encoders out"
        prefixes = architecture(base.family).text_encoder_prefixes
        for prefix, encoder in zip(prefixes, base.text.encoders, strict=True):
            found[prefix] = _adaptable(encoder, _text_targets(encoder, prefix))
    found["unet"] = _adaptable(base.unet, _unet_targets(base.unet, base.family, settings))
    return found


def _adaptable(root: torch.nn.Module, found: list[Target]) -> Adaptable:
    parameter = next(root.parameters())
    return Adaptable(root, found, parameter.dtype, parameter.device, KOHYA.down, KOHYA.up)


def _unet_targets(unet: Any, family: str, settings: TrainingSettings) -> list[Target]:
    classes = ATTENTION_TARGETS + (CONVOLUTION_TARGETS if settings.conv_dim else ())
    names = _target_names(unet, classes)
    if not diffusers_facts(architecture(family)).original_names:
        return [_target(unet, name, f"lora_unet.{name}") for name in names]
    to_ldm = {ours: theirs for theirs, ours in unet_modules(shape_of_unet(unet)).items()}
    return [_target(unet, name, f"lora_unet.{translate(name, to_ldm)}") for name in names]


def _text_targets(encoder: torch.nn.Module, prefix: str) -> list[Target]:
    return [
        _target(encoder, name, f"{prefix}.text_model.{name.removeprefix('text_model.')}")
        for name in _target_names(encoder, TEXT_TARGETS)
    ]


def _target_names(root: torch.nn.Module, classes: tuple[str, ...]) -> list[str]:
    """Full names of the Linear and Conv2d layers inside modules of these classes, in the model's order."""
    found: dict[str, None] = {}
    for name, module in root.named_modules():
        if type(module).__name__ in classes:
            for inner, child in module.named_modules():
                if isinstance(child, (torch.nn.Linear, torch.nn.Conv2d)):
                    found[f"{name}.{inner}"] = None
    return list(found)


def _target(root: torch.nn.Module, name: str, dotted_key: str) -> Target:
    """The layer `name`, whose place an adapter takes."""
    parent_name, _, child_name = name.rpartition(".")
    parent = root.get_submodule(parent_name)

    def adapt(layer: Any, dropout: float) -> Adapter:
        kind = ConvAdapter if isinstance(layer, torch.nn.Conv2d) else LinearAdapter
        adapter = kind(layer, dropout=dropout)
        adapter.train(parent.training)
        setattr(parent, child_name, adapter)
        return adapter

    return Target(dotted_key.replace(".", "_"), root.get_submodule(name), adapt)
