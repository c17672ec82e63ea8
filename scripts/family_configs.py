"""training/kohya/configs: a template for every model family that has none written by hand, from its own presets.

    python -m scripts.family_configs          write them anew

Distilled variants have none: the advice is to train what they were made from. A test holds the files to what this gives.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from kohya_bridge.architectures import ARCHITECTURES
from kohya_bridge.architectures.base import Architecture
from kohya_bridge.engine_names import CHOICES
from kohya_bridge.presets import PRESETS, preset_settings
from kohya_bridge.settings import TrainingSettings
from kohya_bridge.workspace import PACK_ROOT, write_atomically

FOLDER = PACK_ROOT / "training" / "kohya" / "configs"
PICTURES = 30
CADENCE = {"save_every_n_steps": 200, "validate_every_n_steps": 200}
"""So that a first run of an unknown model shows something early."""


def templates() -> dict[Path, str]:
    """Every generated file and its text."""
    return {
        FOLDER / f"{each.name}_character.yaml": _text(each)
        for each in ARCHITECTURES.values()
        if each.diffusers is None and not each.untried and not (each.distilled and _always(each))
    }


def _always(each: Architecture) -> bool:
    return each.distilled is not None and each.distilled.marks is None and not each.distilled.words


def _text(family: Architecture) -> str:
    chosen = {**preset_settings("standard", family, images=PICTURES), **CADENCE, "mixed_precision": "auto"}
    values = {**TrainingSettings().model_dump(mode="json"), **chosen}
    head = f"""
        # A character on {family.title}: 20 to 60 pictures.
        #
        # Copy it to kohya/configs/<character>.yaml of the workspace, set dataset and base_model, and train it:
        #     python -m kohya_bridge train <character>
        #
        # Every number stands here, as the standard preset gives it for {PICTURES} pictures. Where the family's own come from:
        # {family.presets.sources[""]}

        dataset: my_character  # folder name below kohya/datasets; lower-case letters, digits, '_' and '-'
        base_model: model.safetensors  # the file as ComfyUI's {family.base_folder} list shows it
        family: {family.name}  # auto reads it from the file
        character: ""  # name of the LoRA's folder and files; empty takes the dataset's name
        trigger: ""  # the token that calls the character; empty takes the dataset's own
        preset: standard  # {", ".join(PRESETS)}: gives every number that is not below
        engine: auto  # {", ".join(CHOICES)}
        """
    files = [
        f"#   {each.option}: name.safetensors  # {each.title}, from {each.folder}"
        for each in family.model_files
    ]
    lines = ["# model_files:  # only where several fit", *files, "", "settings:"]
    lines += [f"  {name}: {_value(value)}  # {_about(name)}" for name, value in values.items()]
    return "\n".join([textwrap.dedent(head).strip(), *lines]) + "\n"


def _value(value: Any) -> str:
    return (
        json.dumps(value)
        if not isinstance(value, float)
        else f"{value:.1e}"
        if 0 < value < 1e-3
        else repr(value)
    )


def _about(name: str) -> str:
    """The first sentence of a setting's explanation."""
    text = " ".join((TrainingSettings.model_fields[name].description or "").split())
    return text.split(". ")[0].rstrip(".").replace("`", "")


if __name__ == "__main__":
    for file, text in templates().items():
        write_atomically(file, text)
