"""Base models as diffusers saves them: a folder of parts with their configurations.

In: a folder with a `model_index.json`. Out: what `BaseModel` says of it. Only U-Net families are read from folders: the rest lies
in ComfyUI's folders as single files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import json_text
from ..architectures import ARCHITECTURES
from ..errors import InvalidInput, NotFound
from ..files import read_named

MAX_CONFIG_BYTES = 1 << 20


def inspect_folder(folder: Path) -> tuple[str, str, bool, None, bool]:
    """Family, what it predicts, whether its schedule ends in pure noise, no U-Net shape, and whether it says what it predicts.

    Raises:
        NotFound, InvalidInput: it is no diffusers folder of a family that can be trained from one.
    """
    if not (folder / "model_index.json").is_file():
        raise InvalidInput(
            f"{folder.name} is a folder without a model_index.json, so it is not a diffusers model.",
            "Choose a .safetensors checkpoint, or a folder that diffusers saved.",
        )
    unet = _read_config(folder / "unet" / "config.json")
    scheduler = _read_config(folder / "scheduler" / "scheduler_config.json")
    if unet.get("in_channels", 4) != 4:
        raise InvalidInput(
            f"{folder.name} takes {unet.get('in_channels')} input channels: it is an inpainting or editing model.",
            "Choose a plain text-to-image model.",
        )
    predicts = "v_prediction" if scheduler.get("prediction_type") == "v_prediction" else "epsilon"
    ztsnr = bool(scheduler.get("rescale_betas_zero_snr", False))
    return _family(folder, unet), predicts, ztsnr, None, "prediction_type" in scheduler


def _family(folder: Path, unet: dict[str, Any]) -> str:
    two_encoders = unet.get("addition_embed_type") == "text_time" and (folder / "text_encoder").is_dir()
    plain = unet.get("addition_embed_type") is None and not unet.get("use_linear_projection")
    if unet.get("_class_name") == "UNet2DConditionModel" and (two_encoders or plain):
        encoders = 2 if two_encoders else 1
        for each in ARCHITECTURES.values():
            if not each.flow and len(each.text_encoder_prefixes) == encoders:
                return each.name
    titles = " nor ".join(each.a_model for each in ARCHITECTURES.values() if not each.flow)
    raise InvalidInput(
        f"{folder.name} is neither {titles}.",
        "Choose a model of one of these families, or another family's single file.",
    )


def _read_config(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > MAX_CONFIG_BYTES:
            raise InvalidInput(f"{file.name} is larger than 1 MiB.", "Download the model folder again.")
        config = json_text.read(read_named(file, most=MAX_CONFIG_BYTES).decode("utf-8"))
    except FileNotFoundError:
        raise NotFound(
            f"The model folder has no {file.parent.name}/{file.name}.", "Download the folder again."
        ) from None
    except (ValueError, RecursionError):
        raise InvalidInput(
            f"{file.parent.name}/{file.name} is not valid JSON.", "Download the folder again."
        ) from None
    if not isinstance(config, dict):
        raise InvalidInput(
            f"{file.parent.name}/{file.name} is not a configuration.", "Download the folder again."
        )
    return config
