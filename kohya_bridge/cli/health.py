"""The verb doctor: what is there, what is missing, and the command for it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from ..architectures import architecture
from ..architectures.base import Architecture
from ..doctor import examine_machine
from ..engines.native.gradient_check import Checked, check_gradients
from ..errors import NotFound
from ..models.base_models import inspect_base_model, is_whole_checkpoint
from ..models.chosen_files import choose_files
from ..models.comfy_folders import host_folder
from ..models.family_files import what_is_missing
from ..models.model_files import find_model, model_sha256
from ..models.places import Places
from . import exit_codes
from .context import Context
from .parsing import Verbs


def add(verbs: Verbs) -> None:
    doctor = verbs.add(
        "doctor", show_health, "Say what is installed and what is missing, with the command for it."
    )
    doctor.add_argument(
        "--gradients",
        metavar="BASE_MODEL",
        help="check instead whether this ComfyUI computes right gradients for that model (a minute)",
    )


def show_health(context: Context, arguments: argparse.Namespace) -> int:
    if arguments.gradients:
        return show_gradients(context, arguments.gradients)
    diagnoses = examine_machine(context.workspace, context.checkpoint_dirs)
    for each in diagnoses:
        context.out.emit(each.__dict__)
        context.out.say(f"{each.verdict:<9}{each.subject:<24}{each.found}")
        if each.fix:
            context.out.say(f"{'':<9}{'':<24}-> {each.fix}")
    return exit_codes.NOT_WELL if any(each.verdict == "missing" for each in diagnoses) else exit_codes.DONE


def show_gradients(context: Context, name: str) -> int:
    """Check the gradients of the base model of that name."""
    checked = _checked(context, name)
    context.out.emit({"base_model": name, **checked.__dict__})
    context.out.say(f"{name}: {checked.found or checked.problem}")
    if checked.fix:
        context.out.say(f"  -> {checked.fix}")
    return exit_codes.NOT_WELL if checked.problem else exit_codes.DONE


def _checked(context: Context, name: str) -> Checked:
    places = context.desk.places
    folders = [*places.checkpoint_dirs, *places.base_model_dirs("diffusion_models")]
    file = find_model(name, folders, what="base model")
    of_family = architecture(inspect_base_model(file).family)
    if of_family.trainable != "host":
        return Checked(f"{of_family.title} is not trained through ComfyUI's models: nothing to check.")
    host = host_folder(places.tokenizer_dir)
    if host is None:
        raise NotFound("No ComfyUI was found.", "Set COMFYUI_DIR to its folder.")
    files = choose_files({}, of_family, file, places).paths
    _refuse_missing(of_family, file, files, places)
    cache_dir = places.workspace.cache_dir
    return check_gradients(
        file,
        sha256=model_sha256(file, cache_dir=cache_dir),
        family=of_family.name,
        files=files,
        comfyui_dir=host,
        cache_dir=cache_dir,
    )


def _refuse_missing(
    of_family: Architecture, base_file: Path, files: Mapping[str, str], places: Places
) -> None:
    """Raise NotFound with every file that the family needs beside a bare diffusion model and that can't be told by its content."""
    if is_whole_checkpoint(base_file):
        return
    hints = places.folder_hints()
    missing = [each for each in of_family.model_files if each.required and each.option not in files]
    told = [" ".join(what_is_missing(each, "", base_file, hints)) for each in missing]
    if told:
        raise NotFound(
            " ".join(told), "Put the file into that folder; where several fit, leave one there for the check."
        )
