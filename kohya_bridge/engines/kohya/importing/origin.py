"""What the origin of a foreign file does where the file says nothing, and which options its scripts have.

In: who reads the file there (sd-scripts itself, or kohya_ss' GUI), a family. Out: values for `TrainingSettings`; names of options. The list of
options and defaults is `sd_scripts_options.json`, written by `python -m kohya_bridge.engines.kohya.options --record` from the
parsers of the pinned sd-scripts; the GUI's defaults are those of its fields (kohya_ss, kohya_gui/lora_gui.py and class_*.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from .... import json_text
from ....architectures import ARCHITECTURES
from ..options import EVERY_SCRIPT, RECORD

Reader = Literal["sd-scripts", "the GUI", "sd-scripts' metadata"]

SD_SCRIPTS: Mapping[str, Any] = {
    "network_dim": 4,
    "network_alpha": 1.0,
    "network_dropout": 0.0,
    "network_train_unet_only": False,
    "unet_lr": 2e-6,
    "optimizer_type": "AdamW",
    "optimizer_args": {},
    "lr_scheduler": "constant",
    "lr_warmup_steps": 0.0,
    "lr_scheduler_num_cycles": 1,
    "lr_scheduler_power": 1.0,
    "max_train_steps": 1600,
    "train_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "max_grad_norm": 1.0,
    "enable_bucket": False,
    "min_bucket_reso": 256,
    "max_bucket_reso": 1024,
    "bucket_reso_steps": 64,
    "bucket_no_upscale": False,
    "num_repeats": 1,
    "flip_aug": False,
    "shuffle_caption": False,
    "keep_tokens": 0,
    "caption_dropout_rate": 0.0,
    "caption_tag_dropout_rate": 0.0,
    "clip_skip": 1,
    "max_token_length": 75,
    "min_snr_gamma": 0.0,
    "noise_offset": 0.0,
    "prediction_type": "epsilon",
    "zero_terminal_snr": False,
    "min_timestep": 0,
    "max_timestep": 1000,
    "save_precision": "float",
}
"""What sd-scripts trains where nothing is said (train_network.py and library/train_util.py; its rank where network_dim is left
out is that of networks/lora.py)."""
GUI: Mapping[str, Any] = {
    **SD_SCRIPTS,
    "network_dim": 8,
    "unet_lr": 1e-4,
    "text_encoder_lr": 1e-4,
    "lr_scheduler": "cosine",
    "lr_warmup_steps": 0.1,
    "resolution": 512,
    "enable_bucket": True,
    "max_bucket_reso": 2048,
    "bucket_no_upscale": True,
    "save_precision": "fp16",
}
"""What the GUI's fields hold before anybody touches them. Its optimizer is AdamW8bit; AdamW, which it stands for, needs no package."""


def defaults_of(reader: Reader) -> dict[str, Any]:
    """Values of settings that a file leaves out. A LoRA's metadata leave out nothing that mattered but what was off."""
    return dict(GUI if reader == "the GUI" else SD_SCRIPTS)


@cache
def _recorded() -> dict[str, dict[str, Any]]:
    recorded: dict[str, dict[str, Any]] = json_text.read(RECORD.read_text("utf-8"))
    return recorded


def script_of(family: str) -> str:
    """Name of the script that trains a family; train_network where the family is not known yet, or is none of sd-scripts'."""
    found = ARCHITECTURES.get(family)
    return found.kohya.script.removesuffix(".py") if found and found.kohya else "train_network"


def options_of(script: str) -> dict[str, Any]:
    """Name and default of every option that a script of sd-scripts has."""
    return {**_recorded()[EVERY_SCRIPT], **_recorded().get(script, {})}


def scripts_with(option: str) -> list[str]:
    """Scripts that have an option; none where sd-scripts does not know it."""
    if option in _recorded()[EVERY_SCRIPT]:
        return ["train_network"]
    return [script for script, own in _recorded().items() if script.endswith("_network") and option in own]
