"""The names that tensors of a LoRA file have, in every way of writing them that is met: kohya's, peft's and diffusers'.

In: a tensor's name, or the path of a layer in its model. Out: which layer it belongs to and which part of the update it is, or
the name to write. The one place that knows these names. Standard library only.

kohya (sd-scripts, networks/lora.py)    lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight   .lora_up.weight   .alpha
peft (ai-toolkit, ComfyUI, the hub)     diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight   .lora_B.weight   .alpha

ComfyUI loads both for every family (comfy/lora.py: model_lora_keys_unet). After `transformer.` stand diffusers' own names for most
families: they are read, but lead to other layers. kohya's way has `_` for every dot, so the way back needs the model's own paths.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from ..counted import counted
from ..errors import InvalidInput

Part = Literal["down", "up", "alpha", "mid", "dora"]

ALPHA = ".alpha"
_ENDINGS: dict[str, Part] = {
    ".lora_down.weight": "down", ".lora_up.weight": "up", ".lora_mid.weight": "mid",
    ".lora_A.weight": "down", ".lora_B.weight": "up",
    ".lora_A.default.weight": "down", ".lora_B.default.weight": "up",
    ".lora.down.weight": "down", ".lora.up.weight": "up", "_lora.down.weight": "down", "_lora.up.weight": "up",
    ".dora_scale": "dora", ".lora_magnitude_vector": "dora", ".lora_magnitude_vector.weight": "dora",
    ".lora_magnitude_vector.default.weight": "dora",
    ALPHA: "alpha",
}  # fmt: skip
_MODEL = (
    "lora_unet_", "lora_transformer_", "lycoris_", "base_model.model.", "diffusion_model.", "transformer.", "unet.",
)  # fmt: skip
_TEXT = {
    "lora_te_": "te_", "lora_te1_": "te1_", "lora_te2_": "te2_", "lora_te3_": "te3_",
    "text_encoder.": "te_", "text_encoder_2.": "te2_", "text_encoder_3.": "te3_",
}  # fmt: skip


@dataclass(frozen=True)
class Naming:
    """One way of writing them. `prefix` stands before a layer of the diffusion model, `separator` where its path has dots."""

    prefix: str
    separator: str
    down: str
    up: str
    needs_alpha: bool
    """Whether a file without alphas is damaged; otherwise alpha is the rank."""

    def module(self, path: str) -> str:
        """The name of a layer of the diffusion model, by its path in the model."""
        return self.prefix + path.replace(".", self.separator)

    def key(self, path: str, part: Literal["down", "up", "alpha"]) -> str:
        """The name of one tensor of that layer's update."""
        return self.module(path) + {"down": self.down, "up": self.up, "alpha": ALPHA}[part]


KOHYA = Naming("lora_unet_", "_", ".lora_down.weight", ".lora_up.weight", needs_alpha=True)
PEFT = Naming("diffusion_model.", ".", ".lora_A.weight", ".lora_B.weight", needs_alpha=False)


@dataclass(frozen=True)
class LoraKey:
    """What a tensor of a LoRA file is: the module as the file writes it, and which part of its update."""

    module: str
    part: Part


def read_key(name: str) -> LoraKey | None:
    """What the tensor called `name` is; None for one that belongs to no update."""
    for ending, part in _ENDINGS.items():
        if name.endswith(ending) and len(name) > len(ending):
            return LoraKey(name[: -len(ending)], part)
    return None


def modules_of(names: Iterable[str]) -> dict[str, dict[Part, str]]:
    """The tensors of each module by their parts, for modules that have a matrix, in the order of the file."""
    found: dict[str, dict[Part, str]] = {}
    for name in names:
        key = read_key(name)
        if key:
            found.setdefault(key.module, {})[key.part] = name
    return {module: parts for module, parts in found.items() if parts.keys() & {"down", "up"}}


def refuse_unread(modules: Mapping[str, Mapping[Part, str]], what: str) -> None:
    """Raise InvalidInput for updates that are more than two matrices and a number: they would be read as something else."""
    more = {"dora": "DoRA", "mid": "a third matrix (CP decomposition)"}
    for part, title in more.items():
        found = [module for module, parts in modules.items() if part in parts]
        if found:
            raise InvalidInput(
                f"{what} has {title} in {counted(len(found), 'module')}, such as {found[0]}, which is not read here.",
                "Take a plain LoRA.",
            )


def layer(module: str) -> str:
    """Which layer a module is, whatever its naming: the path in the model with `_` for dots, after `te_`, `te1_` and so on for
    the text encoders'."""
    for prefix, encoder in _TEXT.items():
        if module.startswith(prefix):
            return encoder + module.removeprefix(prefix).replace(".", "_")
    for prefix in _MODEL:
        if module.startswith(prefix):
            return module.removeprefix(prefix).replace(".", "_")
    return module.replace(".", "_")


def is_text_encoders(module: str) -> bool:
    """Whether a module belongs to a text encoder."""
    return module.startswith(tuple(_TEXT))


def in_naming_of(ours: Iterable[str], theirs: Iterable[str]) -> Iterator[tuple[str, str]]:
    """`(our key, their key)` for every tensor that both have, whatever naming either is written in."""
    by_layer = {(layer(key.module), key.part): name for name in ours if (key := read_key(name))}
    for name in theirs:
        key = read_key(name)
        if key and (mine := by_layer.get((layer(key.module), key.part))):
            yield mine, name
