"""FLUX.1 dev, schnell and what was tuned from them: two streams of picture and text that become one."""

from __future__ import annotations

from .base import (
    FLOW,
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
from .shared import CLIP_L, FLUX_VAE, T5_XXL, flow_presets

FAMILIES = (
    Architecture(
        name="flux1",
        title="FLUX.1",
        resolution=1024,
        prompt_style="prose",
        flow=True,
        marks=(
            Marks(
                having=("double_blocks.0.", "single_blocks.0.", "vector_in."),
                lacking=(
                    "double_stream_modulation_img.",
                    "distilled_guidance_layer.",
                    "byt5_in.",
                    "txt_in.individual_token_refiner.",
                ),
            ),
            Marks(  # as diffusers names them
                having=(
                    "transformer_blocks.0.attn.add_k_proj.",
                    "single_transformer_blocks.0.",
                    "time_text_embed.text_embedder.",
                ),
                lacking=("distilled_guidance_layer.",),
            ),
        ),
        distilled=Distilled(
            "FLUX.1 schnell is distilled to four steps, and training it as it is undoes that: train FLUX.1 dev, whose LoRAs schnell "
            "takes too, or name a training adapter as base_weights.",
            marks=Marks(lacking=("guidance_in.", "time_text_embed.guidance_embedder.")),
        ),
        presets=flow_presets("sd-scripts, docs/flux_train_network.md."),
        estimates=Estimates(
            weights_gib=22.2,
            activations_gib=33.9,
            checkpointed_gib=2.1,
            encoders_gib=9.3,
            lora_mb_per_rank=9.7,
            forward_tflop=74.0,
        ),
        drawing=Drawing(
            TextLoader("DualCLIPLoader", ("clip_l", "t5xxl"), "flux"),
            "ae",
            "EmptySD3LatentImage",
            steps=20,
            cfg=1.0,
            scheduler="simple",
        ),
        names=Names(
            modelspec="flux-1-dev/lora",
            base_version="flux1",
            civitai="Flux.1 D",
            lora_manager="Flux.1 D",
            hub_tag="flux",
            hub_base="black-forest-labs/FLUX.1-dev",
        ),
        captions=Captions("t5", 512),
        trainable="host",
        in_comfyui=("supported_models.py", "class Flux("),
        kohya=Kohya(
            script="flux_train_network.py",
            network_module="networks.lora_flux",
            options={
                "guidance_scale": 1.0,
                "timestep_sampling": "flux_shift",
                "model_prediction_type": "raw",
            },
            tokenizers=("google_t5-v1_1-xxl",),
            gui_flag="flux1_checkbox",
            gui_types=("Flux1", "Flux1 OFT"),
            gui_fields={
                **in_the_gui("flux1", *TEXT_CACHES),
                **in_the_gui(
                    "",
                    "ae",
                    "clip_l",
                    "t5xxl",
                    *FLOW,
                    "model_prediction_type",
                    "split_mode",
                    "t5xxl_max_token_length",
                    "guidance_scale",
                    "mem_eff_save",
                    "apply_t5_attn_mask",
                    "single_blocks_to_swap",
                    "double_blocks_to_swap",
                    "fp8_base_unet",
                    "cpu_offload_checkpointing",
                ),
            },
        ),
        latent_channels=16,
        base_folder="diffusion_models",
        model_files=(CLIP_L, T5_XXL, FLUX_VAE),
        lora_marks=(
            Marks(
                having=("double_blocks_0_img_mod_lin",),
                sized={"double_blocks_*_img_mlp_0": (12288, 3072)},
            ),
        ),
        text_encoder_prefixes=("lora_te1",),
    ),
)
