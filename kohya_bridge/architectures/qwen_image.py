"""Qwen-Image: 60 blocks of two streams, read by Qwen2.5-VL 7B, over the VAE of Wan with one frame."""

from __future__ import annotations

from .base import Architecture, Captions, Distilled, Drawing, Estimates, Marks, Names, TextLoader
from .shared import QWEN25_VL_7B, QWEN_IMAGE_VAE, flow_presets

FAMILIES = (
    Architecture(
        name="qwen_image",
        title="Qwen-Image",
        resolution=1024,
        prompt_style="natural",
        flow=True,
        marks=(
            Marks(
                having=("transformer_blocks.0.img_mlp.net.", "time_text_embed."),
                lacking=("time_text_embed.addition_t_embedding.",),
                sized={"txt_norm.weight": (3584,)},
            ),
        ),
        distilled=Distilled(
            "By its name this model was distilled to few steps (Lightning), and training it as it is undoes that: train Qwen-Image "
            "and use the LoRA here.",
            words=("lightning", "turbo"),
        ),
        presets=flow_presets(
            "musubi-tuner, docs/qwen_image.md: rank 16, 5e-5, shift 2.2.",
            by_name={"standard": {"unet_lr": 5e-5}},
        ),
        estimates=Estimates(
            weights_gib=38.1,
            activations_gib=36.7,
            checkpointed_gib=2.1,
            encoders_gib=14.7,
            lora_mb_per_rank=18.5,
            forward_tflop=71.0,
        ),
        drawing=Drawing(
            TextLoader("CLIPLoader", ("text_encoder",), "qwen_image"),
            "vae",
            "EmptySD3LatentImage",
            steps=20,
            cfg=4.0,
            scheduler="simple",
            shift=3.1,
        ),
        names=Names(
            modelspec="Qwen-Image/lora",
            base_version="qwen_image",
            civitai="Qwen",
            lora_manager="Qwen",
            hub_tag="qwen-image",
            hub_base="Qwen/Qwen-Image",
            implementation="https://github.com/QwenLM/Qwen-Image",
        ),
        captions=Captions("qwen", 1024),
        trainable="host",
        in_comfyui=("supported_models.py", "class QwenImage("),
        latent_channels=16,
        base_folder="diffusion_models",
        lora_marks=(
            Marks(
                having=("transformer_blocks_0_",),
                sized={"transformer_blocks_*_attn_add_q_proj": (3072, 3072)},
            ),
        ),
        model_files=(QWEN25_VL_7B, QWEN_IMAGE_VAE),
    ),
)
