"""Stable Diffusion XL: a larger U-Net with two text encoders and the picture's size as a condition."""

from __future__ import annotations

from .base import (
    Architecture,
    Captions,
    Diffusers,
    Distilled,
    Drawing,
    Estimates,
    Kohya,
    Marks,
    Names,
    Presets,
)
from .shared import OTHER_VAE

FAMILIES = (
    Architecture(
        name="sdxl",
        title="Stable Diffusion XL",
        resolution=1024,
        prompt_style="prose",
        flow=False,
        marks=(
            Marks(
                having=("input_blocks.", "output_blocks.", "label_emb."),
                sized={
                    "input_blocks.0.0.weight": (None, 4, None, None),
                    "*.proj_in.weight": (None, None),
                },
            ),
        ),
        distilled=Distilled(
            "By its name this checkpoint was distilled to few steps (Turbo, Lightning, Hyper, LCM or DMD), and training it as it is "
            "undoes that: train the checkpoint that it was made from and use the LoRA here.",
            words=("turbo", "lightning", "hyper", "lcm", "dmd"),
        ),
        presets=Presets(
            always={
                "resolution": 1024,
                "min_bucket_reso": 512,
                "max_bucket_reso": 2048,
                "train_batch_size": 1,
                "gradient_checkpointing": True,
            },
            by_name={"low_memory": {"resolution": 768}},
            sources={
                "": "The resolution that it was trained at; batch size and checkpointing for 12 to 16 GB cards.",
            },
        ),
        estimates=Estimates(
            weights_gib=4.8,
            activations_gib=6.4,
            checkpointed_gib=0.67,
            encoders_gib=1.7,
            lora_mb_per_rank=5.4,
            forward_tflop=6.8,
        ),
        drawing=Drawing(),
        names=Names(
            modelspec="stable-diffusion-xl-v1-base/lora",
            base_version="sdxl_base_v1-0",
            civitai="SDXL 1.0",
            lora_manager="SDXL 1.0",
            hub_tag="stable-diffusion-xl",
            hub_base="stabilityai/stable-diffusion-xl-base-1.0",
            a1111="SDXL",
            implementation="https://github.com/Stability-AI/generative-models",
        ),
        captions=Captions(),
        trainable="diffusers",
        diffusers=Diffusers(latent_scale=0.13025, sample_size=128, original_names=True),
        kohya=Kohya(
            script="sdxl_train_network.py",
            network_module="networks.lora",
            bucket_step=32,
            long_captions=True,
            swaps_blocks=False,
            vae_overflows_in=("fp16",),
            gui_flag="sdxl",
            gui_fields={
                "sdxl_cache_text_encoder_outputs": "cache_text_encoder_outputs",
                "sdxl_no_half_vae": "no_half_vae",
            },
        ),
        model_files=(OTHER_VAE,),
        parts={
            "VAE": "first_stage_model.",
            "text encoder": "conditioner.embedders.0.transformer.",
            "second text encoder": "conditioner.embedders.1.model.",
        },
        lora_marks=(
            Marks(any_of=("input_blocks_", "middle_block_", "output_blocks_")),
            Marks(any_of=("down_blocks_1_attentions_0_transformer_blocks_1_",)),
            Marks(having=("te2_text_model_",), lacking=("joint_blocks_",)),
        ),
        text_encoder_prefixes=("lora_te1", "lora_te2"),
    ),
)
