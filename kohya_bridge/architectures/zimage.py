"""Z-Image and Z-Image-Turbo: one stream of picture and text of width 3840, read by Qwen3 4B. Turbo has the same tensors: it was
distilled to eight steps."""

from __future__ import annotations

from dataclasses import replace

from .base import Architecture, Captions, Distilled, Drawing, Estimates, Marks, Names, TextLoader
from .shared import FLUX_VAE, flow_presets, qwen3

_BASE = Architecture(
    name="zimage",
    title="Z-Image",
    resolution=1024,
    prompt_style="natural",
    flow=True,
    marks=(
        Marks(
            having=("cap_embedder.", "layers.0.", "cap_pad_token"),
            lacking=("dec_net.", "clip_text_pooled_proj."),
        ),
        Marks(
            having=("layers.0.", "noise_refiner.0."),
            lacking=("dec_net.", "clip_text_pooled_proj."),
            sized={"cap_embedder.1.weight": (3840, None)},
        ),
    ),
    name_hints=("de_turbo", "de-turbo", "deturbo"),  # Turbo taught back to many steps
    presets=flow_presets(
        "musubi-tuner, docs/zimage.md: rank 32, 1e-4, shift 2.0 to 3.0; ai-toolkit's Z-Image recipe: rank 16 to 32, 1e-4, 2500 to "
        "3000 steps for 10 to 30 pictures.",
        by_name={"standard": {"network_dim": 32, "network_alpha": 32.0}},
    ),
    estimates=Estimates(
        weights_gib=11.5,
        activations_gib=31.8,
        checkpointed_gib=2.0,
        encoders_gib=7.7,
        lora_mb_per_rank=5.5,
        forward_tflop=57.0,
    ),
    drawing=Drawing(
        TextLoader("CLIPLoader", ("text_encoder",), "lumina2"),
        "ae",
        "EmptySD3LatentImage",
        steps=25,
        cfg=4.0,
        sampler="res_multistep",
        scheduler="simple",
        shift=3.0,
    ),
    names=Names(
        modelspec="Z-Image/lora",
        base_version="zimage",
        civitai="ZImageBase",
        lora_manager="ZImageBase",
        hub_tag="z-image",
        hub_base="Tongyi-MAI/Z-Image",
        implementation="https://github.com/Tongyi-MAI/Z-Image",
    ),
    captions=Captions("qwen", 512),
    trainable="host",
    in_comfyui=("supported_models.py", "class ZImage("),
    latent_channels=16,
    base_folder="diffusion_models",
    lora_marks=(
        Marks(sized={"layers_*_attention_qkv": (11520, 3840)}),
        Marks(sized={"layers_*_attention_to_q": (3840, 3840)}),
    ),
    model_files=(qwen3("text_encoder", "Qwen3 4B", 2560), FLUX_VAE),
)

FAMILIES = (
    _BASE,
    replace(
        _BASE,
        name="zimage_turbo",
        title="Z-Image-Turbo",
        name_hints=("turbo",),
        distilled=Distilled(
            "Z-Image-Turbo is distilled to eight steps, and training it as it is undoes that: train Z-Image and use the LoRA on "
            "Turbo, or name Turbo's training adapter as base_weights."
        ),
        drawing=replace(_BASE.drawing, steps=8, cfg=1.0),
        names=replace(
            _BASE.names,
            base_version="zimage_turbo",
            civitai="ZImageTurbo",
            lora_manager="ZImageTurbo",
            hub_base="Tongyi-MAI/Z-Image-Turbo",
        ),
    ),
)
