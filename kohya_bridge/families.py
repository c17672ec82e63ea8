"""Model families: what differs between base models, as data.

In: nothing. Out: one `Family` per architecture, listed in `FAMILIES`. A new family is one entry here, its presets in
`presets.py`, and for the native engine its model in `engines/native/diffusers_side/models.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from .errors import NotFound


@dataclass(frozen=True)
class ModelFile:
    """A further model file of a family: the sd-scripts option that takes it, and the ComfyUI folder that lists it.

    `known_by`: tensors and their shapes (None: any size) that no other kind of file in that folder has; the marks that
    ComfyUI goes by too (`comfy/sd.py`: detect_te_model and the VAE loader)."""

    option: str
    title: str
    folder: str
    required: bool = True
    known_by: dict[str, tuple[int | None, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Family:
    """One architecture. `kohya_script` is the sd-scripts file that trains a LoRA for it; `latent_stride` is pixels a
    latent; `bucket_step` the multiple of pixels that its U-Net takes; names follow modelspec and `ss_base_model_version`.
    `kohya_bucket_step` is the divisor that sd-scripts insists on, `kohya_options` what its guide sets for the family."""

    name: str
    title: str
    kohya_script: str
    network_module: str
    modelspec_architecture: str
    base_model_version: str
    lora_manager_base: str
    resolution: int
    bucket_step: int
    prompt_style: str
    text_encoder_prefixes: tuple[str, ...]
    native: bool
    latent_stride: int = 8
    tokens_per_chunk: int = 75
    base_folder: str = "checkpoints"
    model_files: tuple[ModelFile, ...] = ()
    kohya_bucket_step: int = 64
    kohya_options: dict[str, Any] = field(default_factory=dict)


_TOKENS = "text_model.embeddings.token_embedding.weight"
_T5 = ModelFile(
    "t5xxl",
    "T5-XXL",
    "text_encoders",
    known_by={"encoder.block.23.layer.1.DenseReluDense.wi_1.weight": (None, 4096)},
)
_CLIP_L = ModelFile("clip_l", "CLIP-L", "text_encoders", known_by={_TOKENS: (None, 768)})
_CLIP_G = ModelFile("clip_g", "CLIP-G", "text_encoders", known_by={_TOKENS: (None, 1280)})
_FLUX_VAE = ModelFile(
    "ae", "FLUX autoencoder", "vae", known_by={"decoder.conv_in.weight": (None, 16, None, None)}
)
_OTHER_VAE = ModelFile("vae", "another VAE", "vae", required=False)

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            name="sd15",
            title="Stable Diffusion 1.x",
            kohya_script="train_network.py",
            network_module="networks.lora",
            modelspec_architecture="stable-diffusion-v1/lora",
            base_model_version="sd_v1",
            lora_manager_base="SD 1.5",
            resolution=512,
            bucket_step=64,
            prompt_style="tags",
            text_encoder_prefixes=("lora_te",),
            native=True,
            model_files=(_OTHER_VAE,),
        ),
        Family(
            name="sdxl",
            title="Stable Diffusion XL",
            kohya_script="sdxl_train_network.py",
            network_module="networks.lora",
            modelspec_architecture="stable-diffusion-xl-v1-base/lora",
            base_model_version="sdxl_base_v1-0",
            lora_manager_base="SDXL 1.0",
            resolution=1024,
            bucket_step=64,
            prompt_style="prose",
            text_encoder_prefixes=("lora_te1", "lora_te2"),
            native=True,
            model_files=(_OTHER_VAE,),
            kohya_bucket_step=32,
        ),
        Family(
            name="flux1",
            title="FLUX.1",
            kohya_script="flux_train_network.py",
            network_module="networks.lora_flux",
            modelspec_architecture="flux-1-dev/lora",
            base_model_version="flux1",
            lora_manager_base="Flux.1 D",
            resolution=1024,
            bucket_step=64,
            prompt_style="prose",
            text_encoder_prefixes=("lora_te1",),
            native=False,
            base_folder="diffusion_models",
            model_files=(_CLIP_L, _T5, _FLUX_VAE),
            kohya_options={
                "guidance_scale": 1.0,
                "timestep_sampling": "flux_shift",
                "model_prediction_type": "raw",
            },
        ),
        Family(
            name="chroma",
            title="Chroma",
            kohya_script="flux_train_network.py",
            network_module="networks.lora_flux",
            modelspec_architecture="chroma/lora",
            base_model_version="chroma",
            lora_manager_base="Chroma",
            resolution=1024,
            bucket_step=64,
            prompt_style="prose",
            text_encoder_prefixes=("lora_te1",),
            native=False,
            base_folder="diffusion_models",
            model_files=(_T5, _FLUX_VAE),
            kohya_options={
                "model_type": "chroma",
                "guidance_scale": 0.0,
                "timestep_sampling": "sigmoid",
                "apply_t5_attn_mask": True,
                "model_prediction_type": "raw",
            },
        ),
        Family(
            name="sd3",
            title="Stable Diffusion 3.x",
            kohya_script="sd3_train_network.py",
            network_module="networks.lora_sd3",
            modelspec_architecture="stable-diffusion-3/lora",
            base_model_version="sd3",
            lora_manager_base="SD 3.5",
            resolution=1024,
            bucket_step=64,
            prompt_style="prose",
            text_encoder_prefixes=("lora_te1", "lora_te2"),
            native=False,
            model_files=(
                replace(_CLIP_L, required=False),
                replace(_CLIP_G, required=False),
                replace(_T5, required=False),
            ),
            kohya_bucket_step=32,
            kohya_options={"weighting_scheme": "uniform"},
        ),
        Family(
            name="lumina2",
            title="Lumina Image 2.0",
            kohya_script="lumina_train_network.py",
            network_module="networks.lora_lumina",
            modelspec_architecture="lumina-2/lora",
            base_model_version="lumina2",
            lora_manager_base="Lumina",
            resolution=1024,
            bucket_step=64,
            prompt_style="prose",
            text_encoder_prefixes=("lora_te",),
            native=False,
            base_folder="diffusion_models",
            model_files=(
                ModelFile(
                    "gemma2",
                    "Gemma 2 2B",
                    "text_encoders",
                    known_by={"model.layers.0.post_feedforward_layernorm.weight": (2304,)},
                ),
                _FLUX_VAE,
            ),
            kohya_options={
                "timestep_sampling": "nextdit_shift",
                "discrete_flow_shift": 6.0,
                "model_prediction_type": "raw",
                "system_prompt": "You are an assistant designed to generate high-quality images based on user prompts.",
            },
        ),
        Family(
            name="hunyuan_image",
            title="HunyuanImage 2.1",
            kohya_script="hunyuan_image_train_network.py",
            network_module="networks.lora_hunyuan_image",
            modelspec_architecture="hunyuan-image-2.1/lora",
            base_model_version="hunyuan-image-2.1",
            lora_manager_base="Hunyuan 1",
            resolution=1024,
            bucket_step=64,
            prompt_style="prose",
            text_encoder_prefixes=(),
            native=False,
            latent_stride=32,
            base_folder="diffusion_models",
            model_files=(
                ModelFile(
                    "text_encoder",
                    "Qwen2.5-VL",
                    "text_encoders",
                    known_by={"model.layers.0.self_attn.k_proj.bias": (512,)},
                ),
                ModelFile(
                    "byt5",
                    "byT5 small glyph",
                    "text_encoders",
                    known_by={"encoder.block.0.layer.0.SelfAttention.k.weight": (384, None)},
                ),
                ModelFile(
                    "vae",
                    "HunyuanImage VAE",
                    "vae",
                    known_by={"decoder.conv_in.weight": (None, 64, None, None)},
                ),
            ),
            kohya_options={
                "attn_mode": "torch",
                "split_attn": True,
                "model_prediction_type": "raw",
                "discrete_flow_shift": 5.0,
            },
        ),
        Family(
            name="anima",
            title="Anima",
            kohya_script="anima_train_network.py",
            network_module="networks.lora_anima",
            modelspec_architecture="anima-preview/lora",
            base_model_version="anima",
            lora_manager_base="Anima",
            resolution=1024,
            bucket_step=64,
            prompt_style="tags",
            text_encoder_prefixes=("lora_te",),
            native=False,
            base_folder="diffusion_models",
            model_files=(
                ModelFile(
                    "qwen3",
                    "Qwen3 0.6B",
                    "text_encoders",
                    known_by={
                        "model.layers.0.self_attn.q_norm.weight": (None,),
                        "model.layers.0.post_attention_layernorm.weight": (1024,),
                    },
                ),
                ModelFile(
                    "vae",
                    "Qwen-Image VAE",
                    "vae",
                    known_by={"decoder.middle.0.residual.0.gamma": (None, 1, 1, 1)},
                ),
            ),
            kohya_bucket_step=16,
            kohya_options={
                "timestep_sampling": "sigmoid",
                "discrete_flow_shift": 1.0,
                "vae_chunk_size": 64,
                "vae_disable_cache": True,
            },
        ),
    )
}


def family(name: str) -> Family:
    """The family of that name. Raises NotFound with the known names."""
    try:
        return FAMILIES[name]
    except KeyError:
        raise NotFound(
            f"There is no model family {name!r}.", f"Known families: {', '.join(FAMILIES)}."
        ) from None
