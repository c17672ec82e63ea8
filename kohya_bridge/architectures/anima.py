"""Anima: Cosmos Predict 2's blocks, taught to draw by tags, with an adapter behind Qwen3 0.6B."""

from __future__ import annotations

from .base import Architecture, Captions, Drawing, Estimates, Kohya, Marks, Names, TextLoader
from .shared import QWEN_IMAGE_VAE, flow_presets, qwen3

FAMILIES = (
    Architecture(
        name="anima",
        title="Anima",
        resolution=1024,
        prompt_style="tags",
        flow=True,
        marks=(Marks(having=("llm_adapter.", "blocks.0.")),),
        presets=flow_presets("sd-scripts, docs/anima_train_network.md."),
        estimates=Estimates(
            weights_gib=3.9,
            activations_gib=12.6,
            checkpointed_gib=0.9,
            encoders_gib=1.4,
            lora_mb_per_rank=4.7,
            forward_tflop=18.0,
        ),
        drawing=Drawing(
            TextLoader("CLIPLoader", ("qwen3",), "stable_diffusion"),
            "vae",
            "EmptyLatentImage",
            steps=30,
            cfg=4.0,
            scheduler="simple",
        ),
        names=Names(
            modelspec="anima-preview/lora",
            base_version="anima",
            civitai="Anima",
            lora_manager="Anima",
            hub_tag="anima",
            hub_base="circlestone-labs/Anima",
        ),
        captions=Captions("qwen", 512),
        trainable="host",
        in_comfyui=("supported_models.py", "class Anima("),
        kohya=Kohya(
            script="anima_train_network.py",
            network_module="networks.lora_anima",
            options={
                "timestep_sampling": "sigmoid",
                "discrete_flow_shift": 1.0,
                "vae_chunk_size": 64,
                "vae_disable_cache": True,
            },
            bucket_step=16,
        ),
        latent_channels=16,
        base_folder="diffusion_models",
        model_files=(qwen3("qwen3", "Qwen3 0.6B", 1024), QWEN_IMAGE_VAE),
        lora_marks=(
            Marks(any_of=("llm_adapter_",)),
            Marks(having=("blocks_0_self_attn_q_proj", "blocks_0_adaln_")),
        ),
        text_encoder_prefixes=("lora_te",),
    ),
)
