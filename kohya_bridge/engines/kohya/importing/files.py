"""Bring your own: a kohya_ss GUI preset, an sd-scripts TOML, or any LoRA file ("train like this one") as a request.

In: a file, the dataset and the base model to use with it. Out: an `Imported`: the request, and for every field what became of it and
why. Files are read, never run; paths, secrets and code in them stay behind.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from .... import json_text
from ....device.description import Device
from ....errors import InvalidInput, NotFound
from ....files import read_named
from ....models.lora_facts import read_lora_facts
from ....reasons import in_json, in_toml, reason_of
from .carrying import carry
from .gui import from_gui, is_gui_preset
from .imported import Imported
from .lora_header import options_of_lora
from .origin import Reader, scripts_with

MAX_BYTES = 4 << 20
TAKEN = "adopt takes presets of kohya_ss' GUI, training configs of sd-scripts, and LoRA files."
Options = dict[str, Any]


def import_config(
    file: Path,
    *,
    dataset: str,
    base_model: str = "",
    images: int | None = None,
    device: Device | None = None,
) -> Imported:
    """The request that a foreign configuration amounts to.

    Args:
        dataset, base_model: names to use; without `base_model` the file's own is taken, as a name.
        images: number of pictures, to turn epochs into steps.
        device: what will train; a number format that it lacks becomes auto. None keeps what the file names.

    Raises:
        NotFound, InvalidInput: the file is not there, is none of the known kinds, or is one of another tool.
    """
    file = Path(file)
    if not file.is_file():
        raise NotFound(
            f"There is no file {file.name!r}.", "Name a .json or .toml preset, or a .safetensors LoRA."
        )
    try:
        options, left, reader = _options_of(file)
        return carry(
            options, dataset=dataset, base_model=base_model, images=images, source=file.name, device=device, reader=reader, left=left
        )  # fmt: skip
    except (
        TypeError,
        ValueError,
        LookupError,
        AttributeError,
        ArithmeticError,
        RecursionError,
        MemoryError,
    ) as error:
        raise InvalidInput(
            f"{file.name} holds a value of a kind that no trainer writes ({reason_of(error)}).",
            "Take that value out of the file, or make a config by hand.",
        ) from error


def _options_of(file: Path) -> tuple[Options, list[tuple[str, Any, str]], Reader]:
    """sd-scripts options, what was left behind on the way, and who reads such a file."""
    suffix = file.suffix.lower()
    if suffix not in (".json", ".toml", ".safetensors"):
        raise InvalidInput(
            f"{file.name} is not a kind of preset that is known here.",
            "Name a .json, .toml or .safetensors file.",
        )
    if suffix == ".safetensors":
        facts = read_lora_facts(file)
        options, left = options_of_lora(facts.metadata, what=file.name)
        options[
            "network_train_unet_only"
        ] = not facts.trains_text_encoder  # its keys say what its metadata doesn't
        return options, left, "sd-scripts' metadata"
    data = _read(file, suffix)
    if other := other_kind(data):
        raise InvalidInput(f"{file.name} is {other}, and no training config that is known here.", TAKEN)
    flat = _flat(data)
    if is_gui_preset(flat):
        found = from_gui(flat)
        return found.options, found.left, "the GUI"
    if not any(scripts_with(name) for name in flat):
        raise InvalidInput(f"{file.name} names no option of sd-scripts and no field of kohya_ss' GUI.", TAKEN)
    return flat, [], "sd-scripts"


def other_kind(data: dict[str, Any]) -> str:
    """What a file of another tool is, in words; empty where it may be a training config."""
    signs = (
        ("a dataset config of sd-scripts or musubi-tuner", isinstance(data.get("datasets"), list)),
        ("a job of ai-toolkit", "job" in data and isinstance(data.get("config"), dict)),
        ("a config of OneTrainer", "training_method" in data or {"__version", "concept_file_name"} & data.keys()),
        ("a config of SimpleTuner", "--model_family" in data or "model_family" in data or "data_backend_config" in data),
        ("a config of diffusion-pipe", isinstance(data.get("model"), dict) and isinstance(data.get("adapter"), dict)),
        ("a workflow of ComfyUI", isinstance(data.get("nodes"), list) and "links" in data),
        ("a prompt of ComfyUI", bool(data) and all(isinstance(each, dict) and "class_type" in each for each in data.values())),
        ("the config of a PEFT adapter", "peft_type" in data),
        ("the config of a diffusers or transformers model", "_class_name" in data or "_diffusers_version" in data or "architectures" in data),
        ("a caption list of sd-scripts (in_json)", bool(data) and all(isinstance(each, dict) and {"caption", "tags"} & each.keys() for each in data.values())),
    )  # fmt: skip
    return next((what for what, is_it in signs if is_it), "")


def _read(file: Path, suffix: str) -> dict[str, Any]:
    if file.stat().st_size > MAX_BYTES:
        raise InvalidInput(
            f"{file.name} is larger than 4 MiB.", "A preset is a page of text; is it the right file?"
        )
    try:
        text = read_named(file, most=MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file.name}: {reason_of(error)}.", "Save it as UTF-8.") from None
    try:
        data = json_text.read(text) if suffix == ".json" else _parse_toml(text)
    except (ValueError, RecursionError) as error:
        said = in_json(error) if suffix == ".json" else in_toml(error, text)
        raise InvalidInput(
            f"{file.name} is not valid {suffix[1:].upper()}{said.where}: {said.reason}.", said.fix
        ) from None
    if not isinstance(data, dict):
        raise InvalidInput(f"{file.name} holds no names and values.", TAKEN)
    return data


def _parse_toml(text: str) -> dict[str, Any]:
    reader = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    return dict(reader.loads(text))


def _flat(data: dict[str, Any]) -> Options:
    """Names and values without the sections of a TOML, as sd-scripts reads it."""
    flat: Options = {}
    for name, value in data.items():
        flat.update(value if isinstance(value, dict) else {name: value})
    return flat
