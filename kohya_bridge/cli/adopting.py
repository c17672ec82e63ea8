"""The verb adopt: a foreign preset, or a LoRA to train like, as a config of this program."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import yaml

from ..dataset import read_dataset
from ..device.finding import find_device
from ..engines.kohya.importing import HEADER, import_config
from ..errors import Conflict
from ..files import write_atomically
from ..plan import TrainingRequest
from . import exit_codes
from .context import Context
from .parsing import Verbs


def add(verbs: Verbs) -> None:
    parser = verbs.add(
        "adopt",
        import_file,
        "Make a config of a kohya_ss preset, an sd-scripts TOML, or a LoRA to train like.",
    )
    parser.add_argument("file", type=Path, help="a .json or .toml preset, or a .safetensors LoRA")
    parser.add_argument("--dataset", required=True, help="dataset slug to train on")
    parser.add_argument(
        "--base-model", default="", help="checkpoint name; default: the one that the file names"
    )
    parser.add_argument(
        "--name", help="name of the config to write (default: the dataset's); - only shows it"
    )


def import_file(context: Context, arguments: argparse.Namespace) -> int:
    folder = context.workspace.dataset_dir(arguments.dataset)
    images = len(read_dataset(folder).items) if folder.is_dir() else None
    found = import_config(
        arguments.file,
        dataset=arguments.dataset,
        base_model=arguments.base_model,
        images=images,
        device=find_device(context.workspace.cache_dir),
    )
    values = found.request.model_dump(mode="json", exclude_defaults=True)
    text = f"# Imported from {found.source}.\n" + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    context.out.emit(found.to_json())
    context.out.say(found.headline())
    for note in found.notes:
        context.out.say(note)
    context.out.table(HEADER, found.table())
    name = arguments.name or arguments.dataset
    if name == "-":
        context.out.say(text)
        return exit_codes.DONE
    file = context.workspace.configs_dir / f"{TrainingRequest(dataset=name, base_model='-').dataset}.yaml"
    if os.path.lexists(file):
        raise Conflict(f"There is a config {name!r} already.", "Give another --name, or delete that file.")
    write_atomically(file, text)
    context.out.say(f"Written: {file}. Train it with `python -m kohya_bridge train {name}`.")
    return exit_codes.DONE
