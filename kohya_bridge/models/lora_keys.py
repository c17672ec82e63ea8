"""The names that tensors of a LoRA file have, in every way of writing them that is met: kohya's, peft's and diffusers'.

In: a tensor's name, or the path of a layer in its model. Out: which layer it belongs to and which part of the update it is, or
the name to write. The one place that knows these names. Standard library only.

kohya (sd-scripts, networks/lora.py)    lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight   .lora_up.weight   .alpha
peft (ai-toolkit, ComfyUI, the hub)     diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight   .lora_B.weight   .alpha

ComfyUI loads both for every family (comfy/lora.py: model_lora_keys_unet). After `transformer.` stand diffusers' own names for most
families: they are read, but lead to other layers. kohya's way has `_` for every dot, so the way back needs the model's own paths.

OneTrainer (modules/util/convert_lora_util.py, and the versions before) writes kohya's, ComfyUI's or diffusers' names, all with either pair of
endings; the model's own paths with nothing before them; Open Model Initiative's (`unet.`, `transformer.`, `clip_l.`, `clip_g.`, `t5.`); and kohya's
prefixes with dots behind them (`lora_unet.`). ComfyUI has no key for the last three: `lora_kinds.names_of_host` finds the one of the same layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

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
    "lora_unet_", "lora_unet.", "lora_transformer_", "lora_transformer.", "lora_prior_unet_", "lycoris_",
    "base_model.model.", "model.diffusion_model.", "diffusion_model.", "transformer.", "unet.",
)  # fmt: skip
_TEXT = {
    "lora_te_": "te_", "lora_te1_": "te1_", "lora_te2_": "te2_", "lora_te3_": "te3_",
    "lora_te.": "te_", "lora_te1.": "te1_", "lora_te2.": "te2_", "lora_te3.": "te3_",
    "text_encoder.": "te_", "text_encoder_1.": "te1_", "text_encoder_2.": "te2_", "text_encoder_3.": "te3_",
    "text_encoders.clip_l.transformer.": "te1_", "text_encoders.clip_g.transformer.": "te2_",
    "text_encoders.t5xxl.transformer.": "te3_", "clip_l.": "te1_", "clip_g.": "te2_", "t5.": "te3_",
}  # fmt: skip
_OF_T5 = ("encoder_block_", "shared", "encoder_final_layer_norm")
"""How paths in a T5 begin. It is the second encoder of some families and the third of others."""


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


def layer(module: str) -> str:
    """Which layer a module is, whatever its naming: the path in the model with `_` for dots, after `te_` (an only text encoder), `te1_`,
    `te2_` or `t5_` for the text encoders'."""
    for prefix, encoder in _TEXT.items():
        if module.startswith(prefix):
            path = module.removeprefix(prefix).replace(".", "_")
            return ("t5_" if path.startswith(_OF_T5) else encoder) + path
    for prefix in _MODEL:
        if module.startswith(prefix):
            return _without_processor(module.removeprefix(prefix)).replace(".", "_")
    return _without_processor(module).replace(".", "_")


def _without_processor(path: str) -> str:
    """A path as diffusers' models have it; its first LoRAs named the attention's processor, which wrote `to_out` for `to_out.0`."""
    if ".processor." not in path:
        return path
    path = path.replace(".processor.", ".")
    return f"{path}.0" if path.endswith(".to_out") else path


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
