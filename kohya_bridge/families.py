"""Model families: what differs between base models, as data.

In: nothing. Out: one `Family` per architecture, listed in `FAMILIES`. A new family is one entry here, its presets in
`presets.py`, and for the native engine its model in `engines/native/models.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import NotFound


@dataclass(frozen=True)
class Family:
    """One architecture. `kohya_script` is the sd-scripts file that trains a LoRA for it; `latent_stride` is pixels a
    latent; `bucket_step` the multiple of pixels that its U-Net takes; names follow modelspec and `ss_base_model_version`."""

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
