"""What a base model is: its family, what it predicts and how it is built, read without loading it.

In: a single-file checkpoint as ComfyUI lists it (LDM/SGM layout, .safetensors) or a diffusers folder. Out: `BaseModel`, or
an error that says what the file is instead (a LoRA, a VAE, a refiner, another architecture, a pickle, a broken download).
It reads the header only; torch is not needed, so the desk can ask before anything is spent.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InvalidInput, NotFound
from .safetensors_header import SafetensorsHeader, read_header
from .unet_shape import UNetShape, read_unet_shape

UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."
CLIP_L_PREFIXES = {"sd15": "cond_stage_model.transformer.", "sdxl": "conditioner.embedders.0.transformer."}
CLIP_G_PREFIX = "conditioner.embedders.1.model."
MAX_CONFIG_BYTES = 1 << 20


@dataclass(frozen=True)
class BaseModel:
    """What was found in a base model. `unet` is None for diffusers folders, which bring their own configuration."""

    file: Path
    family: str
    """Key of `families.FAMILIES`."""
    prediction_type: str
    """"epsilon" or "v_prediction"."""
    zero_terminal_snr: bool
    """Whether the model was trained with a schedule that ends in pure noise."""
    unet: UNetShape | None
    prediction_is_stated: bool = False
    """Whether the file says what it predicts; otherwise epsilon is assumed."""

    @property
    def is_folder(self) -> bool:
        return self.unet is None


def inspect_base_model(file: Path) -> BaseModel:
    """Family, prediction type and shape of the base model in `file` (or diffusers folder).

    Raises:
        NotFound: there is nothing of that name.
        InvalidInput: it is no Stable Diffusion 1.x or SDXL model, or lacks a part that training needs.
    """
    file = Path(file)
    if file.is_dir():
        return _inspect_folder(file)
    header = read_header(file)
    if not any(name.startswith(UNET_PREFIX) for name in header.tensors):
        raise InvalidInput(
            f"{file.name} is {_what_else(header)}, not a complete checkpoint.",
            "Choose a Stable Diffusion 1.x or SDXL checkpoint that ComfyUI's Load Checkpoint loads.",
        )
    unet = _unet_of(header)
    family = _family_of(header, unet)
    _refuse_incomplete(header, family)
    prediction, stated = _prediction_of(header)
    return BaseModel(file, family, prediction, "ztsnr" in header.tensors, unet, stated)


def _unet_of(header: SafetensorsHeader) -> UNetShape:
    shapes = header.shapes(UNET_PREFIX)
    foreign = {
        "joint_blocks.0.": "Stable Diffusion 3", "double_blocks.0.": "Flux or a relative of it",
        "double_stream_blocks.0.": "HiDream", "transformer_blocks.0.": "a transformer model such as AuraFlow",
        "layers.0.": "a transformer model such as Lumina", "clf.1.": "Stable Cascade",
    }  # fmt: skip
    for start, name in foreign.items():
        if any(key.startswith(start) for key in shapes):
            raise _wrong_family(header, name)
    return read_unet_shape(shapes)


def _family_of(header: SafetensorsHeader, unet: UNetShape) -> str:
    if "edm_mean" in header.tensors or "edm_vpred.sigma_max" in header.tensors:
        raise _wrong_family(header, "an EDM model (such as Playground 2.5)")
    if unet.in_channels != 4 or unet.out_channels != 4:
        what = {9: "an inpainting model", 8: "an instruction-editing model"}.get(unet.in_channels)
        raise _wrong_family(header, what or f"a model with {unet.in_channels} input channels")
    if unet.context_dim is None:
        raise _wrong_family(header, "a model that does not attend to text")
    if unet.vector_dim is None and not unet.linear_projection:
        return "sd15"
    if unet.vector_dim is None:
        raise _wrong_family(header, "Stable Diffusion 2")
    has_clip_l = any(name.startswith(CLIP_L_PREFIXES["sdxl"]) for name in header.tensors)
    if unet.context_dim == 1280 and not has_clip_l:
        raise _wrong_family(header, "the SDXL refiner")
    return "sdxl"


def _wrong_family(header: SafetensorsHeader, what: str) -> InvalidInput:
    return InvalidInput(
        f"{header.file.name} is {what}; this can train Stable Diffusion 1.x and SDXL.",
        "Choose a checkpoint of one of these families.",
    )


def _refuse_incomplete(header: SafetensorsHeader, family: str) -> None:
    needed = {"VAE": VAE_PREFIX, "text encoder": CLIP_L_PREFIXES[family]}
    if family == "sdxl":
        needed["second text encoder"] = CLIP_G_PREFIX
    missing = [part for part, prefix in needed.items() if not header.shapes(prefix)]
    if missing:
        raise InvalidInput(
            f"{header.file.name} has no {' and no '.join(missing)} inside.",
            "Training needs them: choose a complete checkpoint (in ComfyUI, Save Checkpoint makes one).",
        )


def _prediction_of(header: SafetensorsHeader) -> tuple[str, bool]:
    """What the model predicts and whether the file says so: marker tensor `v_pred`, or modelspec metadata."""
    if "v_pred" in header.tensors:
        return "v_prediction", True
    stated = header.metadata.get("modelspec.prediction_type", "").strip().lower()
    if stated in ("v", "v_prediction", "v-prediction"):
        return "v_prediction", True
    return "epsilon", stated == "epsilon"


def _what_else(header: SafetensorsHeader) -> str:
    """A name for a safetensors file that is no checkpoint."""
    names = list(header.tensors)
    if any(
        ".lora_down." in name or ".lora_A." in name or ".hada_w1_a" in name or ".lokr_w" in name
        for name in names
    ):
        return "a LoRA"
    if any(name.startswith(("control_model.", "controlnet_cond_embedding.")) for name in names):
        return "a ControlNet"
    if names and all(
        name.startswith(("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")) for name in names
    ):
        return "a VAE"
    if any(name.startswith("text_model.encoder.layers.") for name in names):
        return "a text encoder"
    if any(name in ("emb_params", "clip_l", "clip_g") for name in names):
        return "a textual-inversion embedding"
    if any(
        name.startswith(("input_blocks.", "double_blocks.", "down_blocks.", "joint_blocks."))
        for name in names
    ):
        return "a diffusion model without text encoder and VAE"
    return "no model that is known here" if names else "an empty safetensors file"


def _inspect_folder(folder: Path) -> BaseModel:
    if not (folder / "model_index.json").is_file():
        raise InvalidInput(
            f"{folder.name} is a folder without a model_index.json, so it is no diffusers model.",
            "Choose a .safetensors checkpoint, or a folder that diffusers saved.",
        )
    unet = _read_config(folder / "unet" / "config.json")
    scheduler = _read_config(folder / "scheduler" / "scheduler_config.json")
    if unet.get("in_channels", 4) != 4:
        raise InvalidInput(
            f"{folder.name} takes {unet.get('in_channels')} input channels (an inpainting or editing model).",
            "Choose a plain text-to-image model.",
        )
    return BaseModel(
        folder,
        _folder_family(folder, unet),
        "v_prediction" if scheduler.get("prediction_type") == "v_prediction" else "epsilon",
        bool(scheduler.get("rescale_betas_zero_snr", False)),
        None,
        "prediction_type" in scheduler,
    )


def _folder_family(folder: Path, unet: dict[str, Any]) -> str:
    if unet.get("_class_name") == "UNet2DConditionModel":
        if unet.get("addition_embed_type") == "text_time" and (folder / "text_encoder").is_dir():
            return "sdxl"
        if unet.get("addition_embed_type") is None and not unet.get("use_linear_projection"):
            return "sd15"
    raise InvalidInput(
        f"{folder.name} is neither a Stable Diffusion 1.x nor an SDXL model.",
        "Choose a model of one of these families.",
    )


def _read_config(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > MAX_CONFIG_BYTES:
            raise InvalidInput(f"{file.name} is larger than 1 MiB.", "Download the model folder again.")
        config = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise NotFound(
            f"The model folder has no {file.parent.name}/{file.name}.", "Download the folder again."
        ) from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise InvalidInput(
            f"{file.parent.name}/{file.name} is not valid JSON.", "Download the folder again."
        ) from None
    if not isinstance(config, dict):
        raise InvalidInput(
            f"{file.parent.name}/{file.name} is no configuration.", "Download the folder again."
        )
    return config
