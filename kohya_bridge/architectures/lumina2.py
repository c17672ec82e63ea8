"""Lumina Image 2.0: one stream of picture and text, read by Gemma 2."""

from __future__ import annotations

from .base import (
    FLOW,
    TEXT_CACHES,
    Architecture,
    Captions,
    Drawing,
    Estimates,
    Kohya,
    Marks,
    Names,
    TextLoader,
    in_the_gui,
)
from .shared import FLUX_VAE, GEMMA2_2B, flow_presets

SYSTEM_PROMPT = "You are an assistant designed to generate high-quality images based on user prompts."  # sd-scripts' guide

FAMILIES = (
    Architecture(
        name="lumina2",
        title="Lumina Image 2.0",
        resolution=1024,
        prompt_style="prose",
        flow=True,
        marks=(
            Marks(
                having=("cap_embedder.", "layers.0."),
                lacking=("cap_pad_token", "clip_text_pooled_proj.", "dec_net."),
                # Z-Image has the same names, at width 3840.
                sized={"cap_embedder.1.weight": (2304, None)},
            ),
        ),
        presets=flow_presets("sd-scripts, docs/lumina_train_network.md."),
        estimates=Estimates(
            weights_gib=4.9,
            activations_gib=19.3,
            checkpointed_gib=1.2,
            encoders_gib=5.1,
            lora_mb_per_rank=3.4,
            forward_tflop=24.0,
        ),
        drawing=Drawing(
            TextLoader("CLIPLoader", ("gemma2",), "lumina2"),
            "ae",
            "EmptySD3LatentImage",
            steps=30,
            cfg=4.0,
            sampler="res_multistep",
            scheduler="simple",
            shift=4.0,
        ),
        names=Names(
            modelspec="lumina-2/lora",
            base_version="lumina2",
            civitai="Lumina",
            lora_manager="Lumina",
            hub_tag="lumina2",
            hub_base="Alpha-VLLM/Lumina-Image-2.0",
        ),
        captions=Captions("gemma", 256),
        trainable="host",
        in_comfyui=("supported_models.py", "class Lumina2("),
        kohya=Kohya(
            script="lumina_train_network.py",
            network_module="networks.lora_lumina",
            options={
                "timestep_sampling": "nextdit_shift",
                "discrete_flow_shift": 6.0,
                "model_prediction_type": "raw",
                "system_prompt": SYSTEM_PROMPT,
            },
            gui_flag="lumina_checkbox",
            gui_types=("Lumina",),
            gui_fields=in_the_gui(
                "lumina",
                *TEXT_CACHES,
                "gemma2",
                "ae",
                *FLOW,
                "model_prediction_type",
                "sigmoid_scale",
                "gemma2_max_token_length",
                "system_prompt",
                "use_flash_attn",
                "use_sage_attn",
            ),
            takes_tokenizer_folder=False,  # Gemma's comes from the hub's own cache
        ),
        latent_channels=16,
        base_folder="diffusion_models",
        model_files=(GEMMA2_2B, FLUX_VAE),
        lora_marks=(Marks(sized={"layers_*_attention_qkv": (None, 2304)}),),
        text_encoder_prefixes=("lora_te",),
    ),
)
