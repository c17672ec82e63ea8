"""Krea 2: one stream of width 6144 that reads twelve layers of Qwen3-VL 4B. Turbo has the same tensors: it was distilled to eight
steps."""

from __future__ import annotations

from dataclasses import replace

from .base import Architecture, Captions, Distilled, Drawing, Estimates, Marks, Names, TextLoader
from .shared import QWEN3_VL_4B, QWEN_IMAGE_VAE, flow_presets

_RAW = Architecture(
    name="krea2",
    title="Krea 2 Raw",
    resolution=1024,
    prompt_style="natural",
    flow=True,
    marks=(Marks(having=("txtfusion.projector.", "blocks.0.attn.wq.")),),
    presets=flow_presets(
        "musubi-tuner, docs/krea2.md: rank and alpha 32 on every matrix as the authors recommend, 1e-4, shift 2.5 at 1024 pixels.",
        by_name={"standard": {"network_dim": 32, "network_alpha": 32.0}},
    ),
    estimates=Estimates(
        weights_gib=23.9,
        activations_gib=41.6,
        checkpointed_gib=2.9,
        encoders_gib=8.6,
        lora_mb_per_rank=7.4,
        forward_tflop=116.0,
    ),
    drawing=Drawing(
        TextLoader("CLIPLoader", ("text_encoder",), "krea2"),
        "vae",
        "EmptyLatentImage",
        steps=28,
        cfg=4.0,
        scheduler="simple",
    ),
    names=Names(
        modelspec="Krea-2/lora",
        base_version="krea2",
        civitai="Krea 2",
        lora_manager="Krea 2",
        hub_tag="krea-2",
        hub_base="krea/Krea-2-Raw",
        implementation="https://github.com/krea-ai/krea-2",
    ),
    captions=Captions("qwen", 512),
    trainable="host",
    in_comfyui=("supported_models.py", "class Krea2("),
    latent_channels=16,
    base_folder="diffusion_models",
    lora_marks=(Marks(any_of=("txtfusion_", "blocks_0_attn_wq")),),
    model_files=(QWEN3_VL_4B, QWEN_IMAGE_VAE),
)

FAMILIES = (
    _RAW,
    replace(
        _RAW,
        name="krea2_turbo",
        title="Krea 2 Turbo",
        name_hints=("turbo",),
        distilled=Distilled(
            "Krea 2 Turbo is distilled to eight steps, and training it as it is undoes that: train Krea 2 Raw and use the LoRA on "
            "Turbo, as its authors recommend, or name a training adapter as base_weights."
        ),
        drawing=replace(_RAW.drawing, steps=8, cfg=1.0),
        names=replace(_RAW.names, base_version="krea2_turbo", hub_base="krea/Krea-2-Turbo"),
    ),
)
