"""Putting a LoRA on a model inside ComfyUI, with a word when it does not fit: ComfyUI itself only logs that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..kohya_bridge.errors import Refused


def with_lora(
    model: Any, clip: Any, file: Path, *, strength_model: float, strength_clip: float
) -> tuple[Any, Any]:
    """`(model, clip)` with the LoRA of `file` on them; the very same objects when both strengths are 0.

    The file is read anew each time: unlike LoraLoader, no weights are kept by path.

    Raises:
        Refused: not one of its modules fits the model.
    """
    if strength_model == 0 and strength_clip == 0:
        return model, clip
    import comfy.sd
    import comfy.utils

    weights = comfy.utils.load_torch_file(str(file), safe_load=True)
    patched_model, patched_clip = comfy.sd.load_lora_for_models(
        model, clip, weights, strength_model, strength_clip
    )
    if _patches(patched_model) + _patches(patched_clip) == _patches(model) + _patches(clip):
        raise Refused(
            f"No module of {file.name} fits this model.",
            "It was trained for another model family; use it with the family of its base model.",
        )
    return patched_model, patched_clip


def _patches(patched: Any) -> int:
    """How many patches lie on a MODEL or CLIP."""
    patcher = getattr(patched, "patcher", patched)
    return sum(len(each) for each in patcher.patches.values()) if patcher is not None else 0
