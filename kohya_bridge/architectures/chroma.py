"""Chroma: FLUX.1's blocks without CLIP, its modulation made by one small network."""

from __future__ import annotations

from .base import Architecture, Captions, Drawing, Estimates, Kohya, Marks, Names, TextLoader
from .shared import FLUX_VAE, T5_XXL, flow_presets

FAMILIES = (
    Architecture(
        name="chroma",
        title="Chroma",
        resolution=1024,
        prompt_style="prose",
        flow=True,
        marks=(
            Marks(
                having=("distilled_guidance_layer.", "double_blocks.0.", "single_blocks.0."),
                lacking=("nerf_blocks.",),
            ),
        ),
        presets=flow_presets("sd-scripts, docs/flux_train_network.md (Chroma)."),
        estimates=Estimates(
            weights_gib=16.6,
            activations_gib=33.9,
            checkpointed_gib=2.1,
            encoders_gib=9.2,
            lora_mb_per_rank=7.3,
            forward_tflop=74.0,
        ),
        drawing=Drawing(
            TextLoader("CLIPLoader", ("t5xxl",), "chroma"),
            "ae",
            "EmptySD3LatentImage",
            steps=26,
            cfg=3.5,
            scheduler="beta",
            shift=1.0,
        ),
        names=Names(
            modelspec="chroma/lora",
            base_version="chroma",
            civitai="Chroma",
            lora_manager="Chroma",
            hub_tag="chroma",
            hub_base="lodestones/Chroma1-HD",
        ),
        captions=Captions("t5", 512),
        trainable="host",
        in_comfyui=("supported_models.py", "class Chroma("),
        kohya=Kohya(
            script="flux_train_network.py",
            network_module="networks.lora_flux",
            options={
                "model_type": "chroma",
                "guidance_scale": 0.0,
                "timestep_sampling": "sigmoid",
                "apply_t5_attn_mask": True,
                "model_prediction_type": "raw",
            },
            tokenizers=("google_t5-v1_1-xxl",),
        ),
        latent_channels=16,
        base_folder="diffusion_models",
        model_files=(T5_XXL, FLUX_VAE),
        lora_marks=(
            Marks(
                lacking=("double_blocks_0_img_mod_",),
                sized={"double_blocks_*_img_mlp_0": (12288, 3072)},
            ),
        ),
        text_encoder_prefixes=("lora_te1",),
    ),
)
