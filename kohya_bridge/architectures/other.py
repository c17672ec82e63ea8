"""Any other image model that ComfyUI draws with: what is true of most, for families that have no file of their own.

Nobody has tried these numbers on the family at hand: its gradients are checked before the first step, and the answer says so.
"""

from __future__ import annotations

from .base import Architecture, Captions, Drawing, Estimates, Names, TextLoader
from .shared import ANY_TEXT_ENCODERS, ANY_VAE, flow_presets

FAMILIES = (
    Architecture(
        name="other",
        title="another image model",
        resolution=1024,
        prompt_style="natural",
        flow=True,
        marks=(),
        presets=flow_presets("Nobody's numbers yet: what the other flow models have in common."),
        estimates=Estimates(
            weights_gib=16.0,
            activations_gib=32.0,
            checkpointed_gib=2.1,
            encoders_gib=10.0,
            lora_mb_per_rank=10.0,
            forward_tflop=75.0,
        ),
        drawing=Drawing(
            TextLoader(
                "QuadrupleCLIPLoader", tuple(each.option for each in ANY_TEXT_ENCODERS), "stable_diffusion"
            ),
            "vae",
            "EmptySD3LatentImage",
            steps=25,
            cfg=4.0,
            scheduler="simple",
        ),
        names=Names(
            modelspec="other/lora",
            base_version="other",
            civitai="Other",
            lora_manager="Other",
            hub_tag="lora",
            hub_base="",
        ),
        captions=Captions(""),
        trainable="host",
        untried=True,
        latent_channels=16,
        base_folder="diffusion_models",
        model_files=(*ANY_TEXT_ENCODERS, ANY_VAE),
    ),
)
