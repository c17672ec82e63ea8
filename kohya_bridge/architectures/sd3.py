"""Stable Diffusion 3 and 3.5: joint blocks of picture and text, up to three text encoders, often in one checkpoint."""

from __future__ import annotations

from .base import (
    TEXT_CACHES,
    Architecture,
    Captions,
    Distilled,
    Drawing,
    Estimates,
    Kohya,
    Marks,
    Names,
    TextLoader,
    in_the_gui,
)
from .shared import CLIP_G, CLIP_L, T5_XXL, flow_presets, optional

FAMILIES = (
    Architecture(
        name="sd3",
        title="Stable Diffusion 3.x",
        resolution=1024,
        prompt_style="prose",
        flow=True,
        marks=(
            Marks(having=("joint_blocks.0.",)),
            Marks(  # as diffusers names them
                having=("transformer_blocks.0.attn.add_q_proj.", "pos_embed.proj."),
                lacking=("single_transformer_blocks.", "adaln_single."),
            ),
        ),
        distilled=Distilled(
            "SD 3.5 Large Turbo is distilled to four steps, and training it as it is undoes that: train SD 3.5 Large and use the "
            "LoRA on Turbo.",
            words=("turbo",),
        ),
        presets=flow_presets("sd-scripts, docs/sd3_train_network.md."),
        estimates=Estimates(
            weights_gib=15.2,
            activations_gib=18.5,
            checkpointed_gib=1.3,
            encoders_gib=10.8,
            lora_mb_per_rank=8.5,
            forward_tflop=31.0,
        ),
        drawing=Drawing(
            TextLoader("TripleCLIPLoader", ("clip_l", "clip_g", "t5xxl"), "sd3"),
            latent="EmptySD3LatentImage",
            steps=20,
            cfg=4.0,
            scheduler="sgm_uniform",
        ),
        names=Names(
            modelspec="stable-diffusion-3/lora",
            base_version="sd3",
            civitai="SD 3.5",
            lora_manager="SD 3.5",
            hub_tag="stable-diffusion-3.5",
            hub_base="stabilityai/stable-diffusion-3.5-large",
        ),
        captions=Captions("t5", 256),
        trainable="host",
        in_comfyui=("supported_models.py", "class SD3("),
        kohya=Kohya(
            script="sd3_train_network.py",
            network_module="networks.lora_sd3",
            options={"weighting_scheme": "uniform"},
            bucket_step=32,
            tokenizers=("google_t5-v1_1-xxl",),
            gui_flag="sd3_checkbox",
            gui_fields={
                **in_the_gui(
                    "sd3",
                    *TEXT_CACHES,
                    "fused_backward_pass",
                    "clip_l",
                    "clip_l_dropout_rate",
                    "disable_mmap_load_safetensors",
                    "enable_scaled_pos_embed",
                    "t5_dropout_rate",
                    "t5xxl",
                    "text_encoder_batch_size",
                ),
                **in_the_gui(
                    "",
                    "clip_g",
                    "clip_g_dropout_rate",
                    "logit_mean",
                    "logit_std",
                    "mode_scale",
                    "pos_emb_random_crop_rate",
                    "save_clip",
                    "save_t5xxl",
                    "t5xxl_device",
                    "t5xxl_dtype",
                    "weighting_scheme",
                ),
            },
        ),
        latent_channels=16,
        model_files=(optional(CLIP_L), optional(CLIP_G), optional(T5_XXL)),
        lora_marks=(Marks(having=("joint_blocks_",)),),
        text_encoder_prefixes=("lora_te1", "lora_te2"),
    ),
)
