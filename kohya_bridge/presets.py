"""Presets: one dial that sets all numbers, by model family and number of pictures.

In: a preset name, a family, the picture count. Out: values for `plan.TrainingSettings`; every one can be overridden. What is a
family's own stands in its file of `architectures`.
Numbers for characters as the community uses them: sd-scripts docs/train_network.md (alpha half of rank, AdamW8bit,
1e-4), kohya_ss GUI presets, SeaArt's guide (1500 to 3000 steps), invoke-training (1e-4); see docs/presets.md.
"""

from __future__ import annotations

from typing import Any

from .architectures.base import Architecture
from .errors import InvalidInput

PRESETS: dict[str, str] = {
    "draft": "A quick look whether the data works: few steps, small rank, high rate.",
    "standard": "A character from 20 to 60 pictures.",
    "careful": "Lower rate, more steps, trained text encoder where the family profits: the last bit of likeness.",
    "low_memory": "For 6 to 8 GB cards: small rank, batch 1, gradient checkpointing, 8-bit optimiser, all cached.",
}

_COMMON: dict[str, Any] = {
    "lr_scheduler": "cosine",
    "lr_warmup_steps": 0.05,
    "min_snr_gamma": 5.0,
    "keep_tokens": 1,
}

_BY_PRESET: dict[str, dict[str, Any]] = {
    "draft": {"network_dim": 8, "network_alpha": 4.0, "unet_lr": 5e-4, "lr_scheduler": "constant"},
    "standard": {"network_dim": 16, "network_alpha": 8.0, "unet_lr": 1e-4},
    "careful": {"network_dim": 16, "network_alpha": 8.0, "unet_lr": 5e-5},
    "low_memory": {
        "network_dim": 8,
        "network_alpha": 4.0,
        "unet_lr": 1e-4,
        "optimizer_type": "AdamW8bit",
        "train_batch_size": 1,
        "gradient_checkpointing": True,
        "cache_latents": True,
        "cache_text_encoder_outputs": True,
    },
}

# Passes over the set, and the bounds of the step count that they give: 30 pictures x 100 passes / batch 2 = 1500.
_PASSES = {
    "draft": (30, 200, 600),
    "standard": (100, 1000, 3000),
    "careful": (160, 1500, 5000),
    "low_memory": (60, 1000, 3000),
}


def preset_settings(preset: str, family: Architecture, *, images: int) -> dict[str, Any]:
    """Values for `TrainingSettings`: preset, then family, then what the number of pictures asks for.

    Raises:
        InvalidInput: there is no such preset.
    """
    if preset not in PRESETS:
        raise InvalidInput(f"There is no preset {preset!r}.", f"Presets: {', '.join(PRESETS)}.")
    own = family.presets
    values = {**_COMMON, **own.always, **_BY_PRESET[preset], **own.by_name.get(preset, {})}
    passes, least, most = _PASSES[preset]
    steps = images * passes // values["train_batch_size"]
    values["max_train_steps"] = min(most, max(least, -(-steps // 50) * 50))
    values["save_every_n_steps"] = values["validate_every_n_steps"] = max(
        50, values["max_train_steps"] // 8 // 50 * 50
    )
    return values
