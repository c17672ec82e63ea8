"""The further model files of a family: where ComfyUI keeps them, which file is which, and the one that can only be meant.

In: a family's `model_files`, the names that a person chose and the folders of this machine. Out: names for what was left
open, where exactly one file in the folder bears the right marks. Headers alone are read. A plan never holds a path.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..architectures.base import Architecture, ModelFile, fits
from ..counted import counted
from ..errors import BridgeError
from .model_files import OLD_FOLDER_NAMES, list_models
from .places import FOLDER_KEY, Places
from .safetensors_header import read_header


def complete_model_files(
    chosen: Mapping[str, Any], of_family: Architecture, base_model_file: Path, places: Places
) -> dict[str, Any]:
    """`chosen` with every required file of the family that was not named and of which this machine has exactly one."""
    completed = dict(chosen)
    for each in of_family.model_files:
        if each.required and not completed.get(each.option):
            there = candidates(each, model_folders(each.folder, base_model_file, places.folder_hints()))
            if len(there) == 1:
                completed[each.option] = there[0]
    return completed


def model_folders(folder: str, base_model_file: Path, hints: Mapping[str, str]) -> list[Path]:
    """Where ComfyUI keeps files of one kind: the folders that the host names (`hints`, a path list under `folder.<kind>`),
    else those beside the base model's own, under today's and the former name."""
    told = [Path(each) for each in hints.get(f"{FOLDER_KEY}{folder}", "").split(os.pathsep) if each]
    models = [each for each in base_model_file.parents if each.name == "models"][:1]
    beside = models or [base_model_file.parent.parent]
    found = told + [root / name for root in beside for name in (folder, *OLD_FOLDER_NAMES.get(folder, ()))]
    return list(dict.fromkeys(found))


def find_model_files(
    name: str, file: ModelFile, base_model_file: Path, hints: Mapping[str, str]
) -> list[Path]:
    """The files called `name` in ComfyUI's folders for that kind; none where `name` is a path."""
    if not name or Path(name).is_absolute() or ".." in Path(name).parts:
        return []
    places = (each / name for each in model_folders(file.folder, base_model_file, hints))
    return [each for each in places if each.is_file()]


def find_model_file(
    name: str, file: ModelFile, base_model_file: Path, hints: Mapping[str, str]
) -> Path | None:
    """The first of them, as ComfyUI's loaders take it; None where there is none."""
    return next(iter(find_model_files(name, file, base_model_file, hints)), None)


def what_is_missing(
    file: ModelFile, name: str, base_model_file: Path, hints: Mapping[str, str]
) -> tuple[str, str]:
    """`(what is wrong, which files there are)` for a file that was not found under `name`, or not chosen (`name` empty)."""
    folders = model_folders(file.folder, base_model_file, hints)
    fitting = candidates(file, folders)
    there = fitting or list_models(folders)
    listed = f"There are: {', '.join(there[:8])}." if there else f"ComfyUI's {file.folder} folder has none."
    if name:
        return f"{file.title} {name!r} is not in {file.folder}.", listed
    if fitting:
        return f"{file.title} is needed, and {counted(len(fitting), 'file')} may be meant.", listed
    return f"{file.title} is needed and not chosen.", listed


def candidates(file: ModelFile, folders: Sequence[Path]) -> list[str]:
    """Names of the files in `folders` that bear the marks of `file`, each once."""
    return sorted({name for name, place in _safetensors(folders) if bears_marks(file, place)})


def bears_marks(file: ModelFile, place: Path) -> bool:
    """Whether the header of `place` has every tensor that `file` is known by, in that shape. False if it can't be read."""
    try:
        tensors = read_header(place).tensors
    except BridgeError:
        return False
    return (
        bool(file.known_by)
        and not any(name in tensors for name in file.unknown_by)
        and all(name in tensors and fits(tensors[name].shape, shape) for name, shape in file.known_by.items())
    )


def _safetensors(folders: Iterable[Path]) -> list[tuple[str, Path]]:
    return [
        (name, folder / name)
        for folder in folders
        for name in list_models([folder])
        if name.endswith((".safetensors", ".sft"))
    ]
