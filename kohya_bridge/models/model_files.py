"""Where the model files of this machine lie: base checkpoints and LoRAs by the names that ComfyUI's lists show.

In: the folders of ComfyUI's lists and a name. Out: the file, certainly inside one of them. Names never carry a path out
of the folders: whoever can queue a prompt chooses them. What a base model is, `base_models` knows.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..counted import counted
from ..errors import InvalidInput, NotFound
from ..names import is_below
from ..workspace import file_sha256

OLD_FOLDER_NAMES = {"text_encoders": ("clip",), "diffusion_models": ("unet",)}
MODEL_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")


def find_model(name: str, folders: Sequence[Path], *, what: str) -> Path:
    """The file (or diffusers folder) called `name` in the first of `folders` that has it.

    Raises:
        InvalidInput: `name` is a path that leads elsewhere.
        NotFound: no folder has it; the fix names the nearest ones that are there.
    """
    found = models_called(name, folders, what=what)
    if found:
        return found[0]
    there = list_models(folders)
    near = difflib.get_close_matches(name, there, n=3, cutoff=0.4) or there[:5]
    fix = f"There are: {', '.join(near)}." if near else f"Put a file into {_named(folders)}."
    raise NotFound(f"There is no {what} {name!r}.", fix)


def models_called(name: str, folders: Sequence[Path], *, what: str) -> list[Path]:
    """Every file (or diffusers folder) called `name` in `folders`. Raises InvalidInput for a path that leads elsewhere."""
    refuse_paths(name, what=what)
    return [each for each in dict.fromkeys(folder / name for folder in folders) if is_model(each)]


def is_model(place: Path) -> bool:
    """Whether a file or a diffusers folder is there."""
    return place.is_file() or (place / "model_index.json").is_file()


def base_model_dirs(checkpoint_dirs: Sequence[Path], folder: str) -> list[Path]:
    """Where base models of a family lie whose ComfyUI folder is `folder`: beside the checkpoint folders, and in them."""
    if folder == "checkpoints":
        return list(checkpoint_dirs)
    names = (folder, *OLD_FOLDER_NAMES.get(folder, ()))
    return [*(each.parent / name for each in checkpoint_dirs for name in names), *checkpoint_dirs]


def refuse_paths(name: str, *, what: str) -> None:
    """Raise InvalidInput if `name` is anything but a file name with at most folders below the listed ones."""
    if not is_below(name):
        raise InvalidInput(
            f"{name[:80]!r} can't be the name of a {what}.",
            "Give the name as the list shows it, without a path.",
        )


def list_models(folders: Iterable[Path]) -> list[str]:
    """Names of the model files in `folders`, as ComfyUI lists them."""
    found = set()
    for folder in folders:
        if folder.is_dir():
            for file in folder.rglob("*"):
                if file.suffix.lower() in MODEL_SUFFIXES and file.is_file():
                    found.add(file.relative_to(folder).as_posix())
    return sorted(found)


def model_sha256(file: Path, *, cache_dir: Path) -> str:
    """SHA-256 of a model file; of a diffusers folder, over the names and digests of its weights and configurations."""
    if file.is_file():
        return file_sha256(file, cache_dir=cache_dir)
    digest = hashlib.sha256()
    parts = [
        each for each in sorted(file.rglob("*")) if each.suffix in (".safetensors", ".json", ".txt", ".model")
    ]
    for each in parts:
        digest.update(
            f"{each.relative_to(file).as_posix()} {file_sha256(each, cache_dir=cache_dir)}\n".encode()
        )
    return digest.hexdigest()


def _named(folders: Sequence[Path]) -> str:
    """The folders in which a file would be found, each once; of many, the first and how many more ComfyUI's list has."""
    different = list(dict.fromkeys(str(each) for each in folders))
    if not different:
        return "a checkpoint folder (none is configured)"
    more = (
        f", or into another of {counted(len(different), 'folder')} that ComfyUI lists"
        if len(different) > 1
        else ""
    )
    return different[0] + more
