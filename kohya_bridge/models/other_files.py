"""Files that are no base model: what they are, in a word, so that a person knows what they chose.

In: a header or a file. Out: words for an error. GGUF files are no safetensors at all and have their own answer.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import InvalidInput
from ..files import open_named
from .safetensors_header import SafetensorsHeader

_LORA = (".lora_down.", ".lora_A.", ".lora_up.", ".hada_w1_a", ".lokr_w", ".oft_blocks")
_VAE = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.", "conv1.", "conv2.", "bn.")
_TEXT = (
    "text_model.encoder.layers.",
    "model.layers.0.self_attn.",
    "model.language_model.layers.0.",
    "encoder.block.0.layer.0.SelfAttention.",
)
_DIFFUSION = ("input_blocks.", "double_blocks.", "down_blocks.", "joint_blocks.", "transformer_blocks.")


def refuse_gguf(file: Path) -> None:
    """Raise InvalidInput for a GGUF file, whatever it is called."""
    try:
        with open_named(file) as stream:
            is_gguf = stream.read(4) == b"GGUF"
    except OSError:
        return  # whoever reads it next says what is wrong
    if is_gguf:
        raise InvalidInput(
            f"{file.name} is a GGUF file: weights packed for drawing by a custom node, which nothing here can train on.",
            "Use the same model as .safetensors; its fp8 version needs about as much memory.",
        )


def name_other_file(header: SafetensorsHeader) -> str:
    """A name for a safetensors file that holds no diffusion model that is known."""
    names = list(header.tensors)
    if any(part in name for name in names for part in _LORA):
        return "a LoRA"
    if any(name.startswith(("control_model.", "controlnet_cond_embedding.")) for name in names):
        return "a ControlNet"
    if any(name.startswith(_TEXT) for name in names):
        return "a text encoder"
    if names and all(name.startswith(_VAE) for name in names):
        return "a VAE"
    if any(name in ("emb_params", "clip_l", "clip_g") for name in names):
        return "a textual-inversion embedding"
    if any(name.removeprefix("model.diffusion_model.").startswith(_DIFFUSION) for name in names):
        return "a diffusion model of a kind that is not known here"
    return "no model that is known here" if names else "an empty safetensors file"
