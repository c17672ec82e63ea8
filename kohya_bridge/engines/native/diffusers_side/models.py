"""The base model in memory: U-Net, autoencoder and text encoders of a checkpoint, frozen, in the number format asked for.

In: a single-file checkpoint or a diffusers folder. Out: a `Base`. Built on the meta device and filled straight from the
mapped file: no fp32 detour, no initialisation that is thrown away, no network. It trains nothing and adds no LoRA.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel

from ....architectures import architecture
from ....errors import InvalidInput
from ....files import read_named
from ....models.base_models import BaseModel, inspect_base_model
from ....reasons import reason_of
from ....settings import TrainingSettings
from ...training.model import Adaptable
from .autoencoder import Autoencoder, load_autoencoder
from .checkpoint import open_checkpoint, put_weights
from .targets import targets
from .text import TextStack, load_text_stack, load_text_stack_from_folder
from .unet import build_unet

PARTS = ("unet", "vae", "text")
SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}


@dataclass
class Base:
    """A loaded base model. Parts that were not asked for are None; all weights are frozen."""

    facts: BaseModel
    unet: UNet2DConditionModel | None
    vae: Autoencoder | None
    text: TextStack | None
    scheduler_config: dict[str, Any]
    """Keyword arguments of diffusers' `DDPMScheduler`: betas, prediction type, zero terminal SNR."""
    dtype: torch.dtype
    device: torch.device

    @property
    def family(self) -> str:
        return self.facts.family

    def targets(self, settings: TrainingSettings) -> dict[str, Adaptable]:
        """The layers that a LoRA stands beside, by part."""
        return targets(self, settings)


def load_base(
    file: Path,
    *,
    family: str | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    parts: Collection[str] = PARTS,
    tokenizer_dir: Path | None = None,
    vae_dtype: torch.dtype = torch.float32,
    text_dtype: torch.dtype | None = None,
) -> Base:
    """Load `parts` ("unet", "vae", "text") of the base model in `file`.

    `family` is what the plan says; another one in the file is an error. The autoencoder stays in fp32 unless told
    otherwise: latents are made once, and half precision overflows in SDXL's. `tokenizer_dir` holds `vocab.json` and
    `merges.txt`; needed for "text" of a single file.

    Raises:
        InvalidInput, NotFound, StorageError: what is wrong with the file and what to do.
    """
    facts = inspect_base_model(Path(file))
    if family is not None and facts.family != family:
        raise InvalidInput(
            f"{facts.file.name} is {architecture(facts.family).a_model}; the plan says {architecture(family).title}.",
            "Set family to auto, or choose the right checkpoint.",
        )
    device = torch.device(device)
    load = _load_folder if facts.is_folder else _load_single_file
    unet, vae, text = load(facts, set(parts), dtype, device, tokenizer_dir, vae_dtype, text_dtype or dtype)
    return Base(facts, unet, vae, text, scheduler_config(facts), dtype, device)


def scheduler_config(facts: BaseModel) -> dict[str, Any]:
    """Keyword arguments of `DDPMScheduler` for a base model. SD 1.x and SDXL share one schedule."""
    return {
        **SCHEDULE,
        "prediction_type": facts.prediction_type,
        "rescale_betas_zero_snr": facts.zero_terminal_snr,
        "clip_sample": False,
    }


def _load_single_file(
    facts: BaseModel,
    parts: set[str],
    dtype: torch.dtype,
    device: torch.device,
    tokenizer_dir: Path | None,
    vae_dtype: torch.dtype,
    text_dtype: torch.dtype,
) -> tuple[UNet2DConditionModel | None, Autoencoder | None, TextStack | None]:
    assert facts.unet is not None
    with open_checkpoint(facts.file, device=device) as checkpoint:
        unet = vae = text = None
        if "unet" in parts:
            unet = build_unet(facts.unet, facts.family)
            put_weights(unet, checkpoint.unet_state(facts.unet, dtype), what="U-Net")
        if "vae" in parts:
            vae = load_autoencoder(checkpoint, facts.family, vae_dtype)
        if "text" in parts:
            text = load_text_stack(checkpoint, facts.family, text_dtype, tokenizer_dir)
    return unet, vae, text


def _load_folder(
    facts: BaseModel,
    parts: set[str],
    dtype: torch.dtype,
    device: torch.device,
    tokenizer_dir: Path | None,
    vae_dtype: torch.dtype,
    text_dtype: torch.dtype,
) -> tuple[UNet2DConditionModel | None, Autoencoder | None, TextStack | None]:
    options = {"local_files_only": True, "use_safetensors": True}
    unet = vae = text = None
    try:
        if "unet" in parts:
            unet = UNet2DConditionModel.from_pretrained(facts.file / "unet", torch_dtype=dtype, **options)
            unet.to(device).requires_grad_(False)
        if "vae" in parts:
            tiny = "AutoencoderTiny" in read_named(facts.file / "vae" / "config.json").decode("utf-8")
            kind = AutoencoderTiny if tiny else AutoencoderKL
            model = kind.from_pretrained(facts.file / "vae", torch_dtype=vae_dtype, **options)
            model.to(device).requires_grad_(False)
            vae = Autoencoder(model, float(model.config.scaling_factor))
        if "text" in parts:
            text = load_text_stack_from_folder(facts.file, facts.family, text_dtype, device, tokenizer_dir)
    except (OSError, ValueError) as error:  # how diffusers and transformers report damaged or pickled folders
        raise InvalidInput(
            f"The model folder {facts.file.name} can't be loaded: {reason_of(error)}.",
            "It must hold .safetensors weights; download it again.",
        ) from error
    return unet, vae, text
