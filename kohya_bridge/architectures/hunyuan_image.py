"""HunyuanImage 2.1: FLUX-like blocks over latents of 32 pixels, with a reader of letters beside Qwen2.5-VL."""

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
    ModelFile,
    Names,
    TextLoader,
    in_the_gui,
)
from .shared import BYT5, QWEN25_VL_7B, VAE, flow_presets

FAMILIES = (
    Architecture(
        name="hunyuan_image",
        title="HunyuanImage 2.1",
        resolution=1024,
        prompt_style="prose",
        flow=True,
        marks=(Marks(having=("byt5_in.", "double_blocks.0."), lacking=("vision_in.",)),),
        presets=flow_presets("sd-scripts, docs/hunyuan_image_train_network.md."),
        estimates=Estimates(
            weights_gib=32.5,
            activations_gib=14.9,
            checkpointed_gib=0.9,
            encoders_gib=15.5,
            lora_mb_per_rank=12.2,
            forward_tflop=33.0,
        ),
        drawing=Drawing(
            TextLoader("DualCLIPLoader", ("text_encoder", "byt5"), "hunyuan_image"),
            "vae",
            "EmptyHunyuanImageLatent",
            steps=20,
            cfg=3.5,
            scheduler="simple",
        ),
        names=Names(
            modelspec="hunyuan-image-2.1/lora",
            base_version="hunyuan-image-2.1",
            civitai="Hunyuan 1",
            lora_manager="Hunyuan 1",
            hub_tag="hunyuan-image",
            hub_base="tencent/HunyuanImage-2.1",
        ),
        captions=Captions("qwen", 1000),
        trainable=None,
        not_trainable="The native engine does not train HunyuanImage 2.1: nobody has held ComfyUI's model of it to the gradient check.",
        kohya=Kohya(
            script="hunyuan_image_train_network.py",
            network_module="networks.lora_hunyuan_image",
            options={
                "attn_mode": "torch",
                "split_attn": True,
                "model_prediction_type": "raw",
                "discrete_flow_shift": 5.0,
            },
            tokenizers=("Qwen_Qwen2.5-VL-7B-Instruct", "google_byt5-small"),
            refused_precisions=("fp16",),
            gui_flag="hunyuan_image_checkbox",
            gui_types=("HunyuanImage-2.1",),
            gui_fields={
                **in_the_gui("hunyuan_image", *TEXT_CACHES),
                **in_the_gui(
                    "hunyuan",
                    "text_encoder",
                    "byt5",
                    "vae",
                    *FLOW,
                    "model_prediction_type",
                    "sigmoid_scale",
                    "attn_mode",
                    "split_attn",
                    "fp8_scaled",
                    "fp8_vl",
                    "text_encoder_cpu",
                    "vae_chunk_size",
                ),
            },
        ),
        latent_stride=32,
        latent_channels=64,
        base_folder="diffusion_models",
        lora_marks=(Marks(sized={"double_blocks_*_img_mlp_0": (14336, 3584)}),),
        model_files=(
            QWEN25_VL_7B,
            BYT5,
            ModelFile(
                "vae",
                "HunyuanImage VAE",
                VAE,
                known_by={"decoder.conv_in.weight": (None, 64, None, None)},
            ),
        ),
    ),
)
