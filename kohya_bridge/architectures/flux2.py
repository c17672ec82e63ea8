"""FLUX.2: klein in two sizes, each as base and distilled to four steps, and dev. Told apart by width and by name."""

from __future__ import annotations

from dataclasses import replace

from .base import Architecture, Captions, Distilled, Drawing, Estimates, Marks, Names, TextLoader
from .shared import FLUX2_VAE, MISTRAL3, flow_presets, qwen3

_SOURCE = "musubi-tuner, docs/flux_2.md: rank 32, 1e-4, shift by the picture's size; ai-toolkit's klein recipe: rank 16 to 32, 1e-4."


def _marks(width: int) -> tuple[Marks, ...]:
    return (
        Marks(
            having=("double_stream_modulation_img.", "double_blocks.0.", "single_blocks.0."),
            sized={"img_in.weight": (width, None)},
        ),
    )


def _lora_marks(width: int) -> tuple[Marks, ...]:
    return (Marks(sized={"double_blocks_*_img_mlp_0": (6 * width, width)}),)


_BASE_4B = Architecture(
    name="flux2_klein_base_4b",
    title="FLUX.2 klein base 4B",
    resolution=1024,
    prompt_style="natural",
    flow=True,
    marks=_marks(3072),
    lora_marks=_lora_marks(3072),
    name_hints=("base",),
    presets=flow_presets(_SOURCE, by_name={"standard": {"network_dim": 32, "network_alpha": 32.0}}),
    estimates=Estimates(
        weights_gib=7.2,
        activations_gib=17.5,
        checkpointed_gib=1.4,
        encoders_gib=7.8,
        lora_mb_per_rank=3.1,
        forward_tflop=35.0,
    ),
    drawing=Drawing(
        TextLoader("CLIPLoader", ("text_encoder",), "flux2"),
        "vae",
        "EmptyFlux2LatentImage",
        steps=20,
        cfg=5.0,
        scheduler="simple",
    ),
    names=Names(
        modelspec="Flux.2-klein-4b/lora",
        base_version="flux2_klein_base_4b",
        civitai="Flux.2 Klein 4B-base",
        lora_manager="Flux.2 Klein 4B-base",
        hub_tag="flux2",
        hub_base="black-forest-labs/FLUX.2-klein-base-4B",
        implementation="https://github.com/black-forest-labs/flux2",
    ),
    captions=Captions("qwen", 512),
    trainable="host",
    in_comfyui=("text_encoders/flux.py", "class KleinTokenizer("),
    latent_stride=16,
    latent_channels=128,
    base_folder="diffusion_models",
    model_files=(qwen3("text_encoder", "Qwen3 4B", 2560), FLUX2_VAE),
)
_BASE_9B = replace(
    _BASE_4B,
    name="flux2_klein_base_9b",
    title="FLUX.2 klein base 9B",
    marks=_marks(4096),
    lora_marks=_lora_marks(4096),
    estimates=Estimates(
        weights_gib=16.9,
        activations_gib=29.8,
        checkpointed_gib=2.1,
        encoders_gib=15.6,
        lora_mb_per_rank=5.5,
        forward_tflop=76.0,
    ),
    names=replace(
        _BASE_4B.names,
        modelspec="Flux.2-klein-9b/lora",
        base_version="flux2_klein_base_9b",
        civitai="Flux.2 Klein 9B-base",
        lora_manager="Flux.2 Klein 9B-base",
        hub_base="black-forest-labs/FLUX.2-klein-base-9B",
    ),
    model_files=(qwen3("text_encoder", "Qwen3 8B", 4096), FLUX2_VAE),
)


def _distilled(base: Architecture, size: str) -> Architecture:
    """The same network after distillation: its files have no word of their own, the base's say `base`."""
    civitai = f"Flux.2 Klein {size}"
    return replace(
        base,
        name=f"flux2_klein_{size.lower()}",
        title=f"FLUX.2 klein {size}",
        name_hints=(),
        distilled=Distilled(
            f"FLUX.2 klein {size} is distilled to four steps, and training it as it is undoes that: train klein base {size} and use "
            f"the LoRA on klein {size}, or name a training adapter as base_weights."
        ),
        drawing=replace(base.drawing, steps=4, cfg=1.0),
        names=replace(
            base.names,
            base_version=f"flux2_klein_{size.lower()}",
            civitai=civitai,
            lora_manager=civitai,
            hub_base=f"black-forest-labs/FLUX.2-klein-{size}",
        ),
    )


_DEV = replace(
    _BASE_4B,
    name="flux2_dev",
    title="FLUX.2 dev",
    marks=_marks(6144),
    lora_marks=_lora_marks(6144),
    name_hints=(),
    estimates=Estimates(
        weights_gib=60.0,
        activations_gib=77.7,
        checkpointed_gib=4.4,
        encoders_gib=44.7,
        lora_mb_per_rank=12.6,
        forward_tflop=283.0,
    ),
    in_comfyui=("supported_models.py", "class Flux2("),
    captions=Captions("mistral", 512),
    drawing=replace(_BASE_4B.drawing, cfg=1.0),
    names=replace(
        _BASE_4B.names,
        modelspec="Flux.2-dev/lora",
        base_version="flux2_dev",
        civitai="Flux.2 D",
        lora_manager="Flux.2 D",
        hub_base="black-forest-labs/FLUX.2-dev",
    ),
    model_files=(MISTRAL3, FLUX2_VAE),
)

FAMILIES = (_distilled(_BASE_4B, "4B"), _BASE_4B, _distilled(_BASE_9B, "9B"), _BASE_9B, _DEV)
