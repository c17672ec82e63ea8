"""Stable Diffusion 1.x: a U-Net that takes CLIP-L's 768 numbers a token through convolutions."""

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
        name="sd15",
        title="Stable Diffusion 1.x",
        resolution=512,
        prompt_style="tags",
        flow=False,
        marks=(
            # The projections into its transformers are 1x1 convolutions; those of 2.x and SDXL are matrices.
            Marks(
                having=("input_blocks.", "output_blocks."),
                lacking=("label_emb.",),
                sized={
                    "input_blocks.0.0.weight": (None, 4, None, None),
                    "*.proj_in.weight": (None, None, 1, 1),
                },
            ),
        ),
        distilled=Distilled(
            "By its name this checkpoint was distilled to few steps (Turbo, Lightning, Hyper or LCM), and training it as it is undoes "
            "that: train the checkpoint that it was made from and use the LoRA here.",
            words=("turbo", "lightning", "hyper", "lcm"),
        ),
        presets=Presets(
            always={
                "resolution": 512,
                "min_bucket_reso": 256,
                "max_bucket_reso": 1024,
                "train_batch_size": 2,
            },
            by_name={
                "careful": {
                    "network_train_unet_only": False,
                    "text_encoder_lr": 2e-5,
                    "cache_text_encoder_outputs": False,
                    "shuffle_caption": True,
                },
                "low_memory": {"train_batch_size": 1},
            },
            sources={
                "": "The resolution that it was trained at; batch size as sd-scripts, docs/train_network.md.",
                "text_encoder_lr": "A fifth to a half of the U-Net's rate is usual (kohya_ss, presets/lora).",
            },
        ),
        estimates=Estimates(
            weights_gib=1.6,
            activations_gib=0.9,
            checkpointed_gib=0.23,
            encoders_gib=0.4,
            lora_mb_per_rank=0.85,
            forward_tflop=0.8,
        ),
        drawing=Drawing(),
        names=Names(
            modelspec="stable-diffusion-v1/lora",
            base_version="sd_v1",
            civitai="SD 1.5",
            lora_manager="SD 1.5",
            hub_tag="stable-diffusion",
            hub_base="stable-diffusion-v1-5/stable-diffusion-v1-5",
            a1111="SD1",
        ),
        captions=Captions(clip_skip=True),
        trainable="diffusers",
        diffusers=Diffusers(latent_scale=0.18215, sample_size=64, heads=8),
        kohya=Kohya(
            script="train_network.py",
            network_module="networks.lora",
            caches_text=False,
            long_captions=True,
            swaps_blocks=False,
        ),
        model_files=(OTHER_VAE,),
        parts={"VAE": "first_stage_model.", "text encoder": "cond_stage_model.transformer."},
        lora_marks=(
            Marks(any_of=("input_blocks_", "output_blocks_"), sized={"*_attn2_to_k": (None, 768)}),
            Marks(
                any_of=("down_blocks_", "te_text_model_"),
                lacking=("te2_", "down_blocks_1_attentions_0_transformer_blocks_1_"),
            ),
        ),
        text_encoder_prefixes=("lora_te",),
    ),
)
