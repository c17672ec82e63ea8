"""What several families have in common: text encoders and VAEs with the marks that they are known by, and the presets of flow
models.

Marks as ComfyUI reads them (`comfy/sd.py`: detect_te_model, class VAE). Qwen2.5, Qwen3 and Gemma files of ComfyUI begin with
`model.`; T5's and CLIP's as transformers saves them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .base import ModelFile, Presets

TEXT, VAE = "text_encoders", "vae"

_TOKENS = "text_model.embeddings.token_embedding.weight"
T5_XXL = ModelFile(
    "t5xxl", "T5-XXL", TEXT, known_by={"encoder.block.23.layer.1.DenseReluDense.wi_1.weight": (None, 4096)}
)
CLIP_L = ModelFile("clip_l", "CLIP-L", TEXT, known_by={_TOKENS: (None, 768)})
CLIP_G = ModelFile("clip_g", "CLIP-G", TEXT, known_by={_TOKENS: (None, 1280)})
QWEN25_VL_7B = ModelFile(
    "text_encoder", "Qwen2.5-VL", TEXT, known_by={"model.layers.0.self_attn.k_proj.bias": (512,)}
)
BYT5 = ModelFile(
    "byt5",
    "byT5 small glyph",
    TEXT,
    known_by={"encoder.block.0.layer.0.SelfAttention.k.weight": (384, None)},
)
GEMMA2_2B = ModelFile(
    "gemma2", "Gemma 2 2B", TEXT, known_by={"model.layers.0.post_feedforward_layernorm.weight": (2304,)}
)


QWEN3_VL_4B = ModelFile(
    "text_encoder",
    "Qwen3-VL 4B",
    TEXT,
    known_by={"model.visual.merger.linear_fc2.weight": (2560, None)},
)
MISTRAL3 = ModelFile(
    "text_encoder",
    "Mistral Small 3.2",
    TEXT,
    known_by={"model.layers.0.post_attention_layernorm.weight": (5120,)},
    unknown_by=("model.layers.0.self_attn.q_norm.weight",),
)


def qwen3(option: str, title: str, width: int) -> ModelFile:
    """A Qwen3 text model of that width."""
    marks = {
        "model.layers.0.self_attn.q_norm.weight": (None,),
        "model.layers.0.post_attention_layernorm.weight": (width,),
    }
    return ModelFile(option, title, TEXT, known_by=marks)


FLUX_VAE = ModelFile(
    "ae", "FLUX autoencoder", VAE, known_by={"decoder.conv_in.weight": (None, 16, None, None)}
)
FLUX2_VAE = ModelFile(
    "vae",
    "FLUX.2 autoencoder",
    VAE,
    known_by={"decoder.conv_in.weight": (None, 32, None, None), "bn.running_mean": (None,)},
)
QWEN_IMAGE_VAE = ModelFile(
    "vae", "Qwen-Image VAE", VAE, known_by={"decoder.middle.0.residual.0.gamma": (None, 1, 1, 1)}
)
ANY_TEXT_ENCODERS = tuple(
    ModelFile(f"text_encoder{number}", title, TEXT, required=not number)
    for number, title in (
        ("", "text encoder"),
        ("_2", "second text encoder"),
        ("_3", "third text encoder"),
        ("_4", "fourth text encoder"),
    )
)
ANY_VAE = ModelFile("vae", "VAE", VAE)
OTHER_VAE = ModelFile("vae", "another VAE", VAE, required=False)


def optional(file: ModelFile) -> ModelFile:
    """The same file where a family can do without it."""
    return replace(file, required=False)


_FLOW_ALWAYS: dict[str, Any] = {
    "resolution": 1024,
    "min_bucket_reso": 512,
    "max_bucket_reso": 2048,
    "train_batch_size": 1,
    "gradient_checkpointing": True,
    "min_snr_gamma": 0.0,
}
_FLOW_LOW_MEMORY: dict[str, Any] = {"resolution": 512, "min_bucket_reso": 256, "max_bucket_reso": 1024}


def flow_presets(source: str, *, by_name: Mapping[str, Mapping[str, Any]] | None = None) -> Presets:
    """The presets of a flow model: no SNR weighting, frozen text encoders, as the guides of these families say. `by_name` are
    numbers of the family's own, from `source`."""
    sources = {
        "": source,
        "min_snr_gamma": "A flow model has no signal-to-noise weighting (sd-scripts, docs/flux_train_network.md).",
    }
    return Presets(_FLOW_ALWAYS, {"low_memory": _FLOW_LOW_MEMORY, **(by_name or {})}, sources)
