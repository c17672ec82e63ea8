"""Putting a LoRA on a model inside ComfyUI, with a word when it does not fit: ComfyUI itself only logs that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..kohya_bridge.architectures import architecture
from ..kohya_bridge.errors import BridgeError, Refused
from ..kohya_bridge.models.lora_check import lora_problems
from ..kohya_bridge.models.lora_facts import read_lora_facts
from ..kohya_bridge.models.lora_kinds import names_of_host, read_modules
from ..kohya_bridge.models.safetensors_header import read_header


def with_lora(
    model: Any, clip: Any, file: Path, *, strength_model: float, strength_clip: float
) -> tuple[Any, Any, str]:
    """`(model, clip, note)` with the LoRA of `file` on them; the very same objects when both strengths are 0. The note is a sentence
    where only a part of the LoRA fits, else empty.

    The file is read anew each time: unlike LoraLoader, no weights are kept by path.

    Raises:
        Refused: it is damaged, or not one of its modules fits the model.
    """
    if strength_model == 0 and strength_clip == 0:
        return model, clip, ""
    import comfy.utils

    if wrong := lora_problems(file):
        raise Refused(
            f"{file.name} can't be loaded: {wrong[0]}", "Get the file again, or choose another one."
        )
    weights = comfy.utils.load_torch_file(str(file), safe_load=True)
    has = len(read_modules(weights))
    patched, fits = _patched(model, clip, weights, strength_model, strength_clip)
    if (not fits or fits < has) and (renamed := _in_names_of(model, clip, weights)):
        patched, fits = _patched(model, clip, renamed, strength_model, strength_clip)
    if not fits:
        raise Refused(f"No module of {file.name} fits this model. {_made_for(file)}", _what_to_do(file))
    if has and fits < has:
        return *patched, f"{fits} of {has} modules of {file.name} {'fits' if fits == 1 else 'fit'} this model; the others do nothing. {_made_for(file)}"  # fmt: skip
    return *patched, ""


def _patched(
    model: Any, clip: Any, weights: Mapping[str, Any], strength_model: float, strength_clip: float
) -> tuple[tuple[Any, Any], int]:
    """Model and CLIP with the weights on them by ComfyUI's loader, and how many modules found a place."""
    import comfy.sd

    patched = comfy.sd.load_lora_for_models(model, clip, dict(weights), strength_model, strength_clip)
    return patched, sum(map(_patches, patched)) - _patches(model) - _patches(clip)


def _in_names_of(model: Any, clip: Any, weights: Mapping[str, Any]) -> dict[str, Any]:
    """The same weights under the names that ComfyUI has for these models' layers, where it has other ones (OneTrainer writes some that it
    does not know); empty where there is nothing to rename."""
    import comfy.lora

    known = comfy.lora.model_lora_keys_unet(model.model, {}) if model is not None else {}
    if clip is not None:
        known = comfy.lora.model_lora_keys_clip(clip.cond_stage_model, known)
    renamed = names_of_host(weights, (each for each in known if isinstance(each, str)))
    return {renamed.get(name, name): tensor for name, tensor in weights.items()} if renamed else {}


def _made_for(file: Path) -> str:
    """What the file says that it was made for, as a sentence."""
    header = read_header(file)
    told = header.metadata.get("ss_base_model_version") or header.metadata.get("modelspec.architecture", "")
    try:
        family = read_lora_facts(file).family
    except BridgeError:
        family = None
    if family:
        return f"By its header and key names it was made for {architecture(family).title}."
    if told:
        return f"Its header says that it was made for {told[:80]}."
    first = next(iter(header.tensors), "")
    return f"It does not say what it was made for; its first key is {first[:80]!r}."


def _what_to_do(file: Path) -> str:
    if read_modules(read_header(file).tensors):
        return "Use it with the model family that it was made for; a LoRA whose key names ComfyUI does not know has to be converted first."
    return "It has no matrices with the key names of a LoRA: choose a LoRA file, or convert it to the names that ComfyUI knows."


def _patches(patched: Any) -> int:
    """How many patches lie on a MODEL or CLIP."""
    patcher = getattr(patched, "patcher", patched)
    return sum(len(each) for each in patcher.patches.values()) if patcher is not None else 0
