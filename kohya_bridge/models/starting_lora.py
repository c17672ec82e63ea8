"""LoRA files that a training begins with (`network_weights`) or has beside it (`base_weights`): name, digest, and where it lies.

In: a request's settings, with a name as ComfyUI's LoRA list shows it, or a SHA-256. Out: the digest, which is part of the run's
identity, and the path, which is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InvalidInput, NotFound
from ..workspace import Workspace, file_sha256
from .lora_check import lora_problems
from .lora_facts import read_lora_facts
from .model_files import find_model, list_models

_DIGEST = re.compile(r"[0-9a-f]{64}")


NAMED = ("network_weights", "base_weights")


@dataclass(frozen=True)
class NamedLoras:
    """What a plan says of them (`settings`) and where they lie (`extra` of the machine's paths). Both empty without any."""

    settings: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, str] = field(default_factory=dict)


def resolve_loras(settings: Mapping[str, Any], workspace: Workspace, lora_dirs: Sequence[Path]) -> NamedLoras:
    """Raises NotFound or InvalidInput when no file has that name or digest, or the file is damaged or not a LoRA."""
    found = NamedLoras()
    for name in NAMED:
        wanted = settings.get(name)
        if isinstance(wanted, str) and wanted:
            file = _resolved(wanted, workspace, lora_dirs)
            if wrong := _wrong_with(file):
                raise InvalidInput(
                    f"{file.name} can't be used as {name}: {wrong}",
                    "Choose another LoRA, or get the file again.",
                )
            found.settings[name] = file_sha256(file, cache_dir=workspace.cache_dir)
            found.extra[name] = str(file)
    return found


def _wrong_with(file: Path) -> str:
    """Why no engine can use it, as a sentence: it is damaged, or a file of something else."""
    if wrong := lora_problems(file):
        return wrong[0]
    try:
        read_lora_facts(file)
    except InvalidInput as error:
        return error.problem
    return ""


def _resolved(wanted: str, workspace: Workspace, lora_dirs: Sequence[Path]) -> Path:
    if _DIGEST.fullmatch(wanted):
        return _file_of_digest(wanted, workspace, lora_dirs)
    return find_model(wanted, lora_dirs, what="LoRA")


def _file_of_digest(digest: str, workspace: Workspace, lora_dirs: Sequence[Path]) -> Path:
    for file in _candidates(workspace, lora_dirs, digest):
        if file_sha256(file, cache_dir=workspace.cache_dir) == digest:
            return file
    raise NotFound(
        f"No LoRA file has the digest {digest[:12]}...",
        "Put the file back into a LoRA folder, or name another one.",
    )


def _candidates(workspace: Workspace, lora_dirs: Sequence[Path], digest: str) -> Iterator[Path]:
    """Checkpoints of our own runs carry the beginning of their digest in the name; other files have to be read."""
    yield from workspace.runs_dir.glob(f"*/*/checkpoints/*-{digest[:8]}.safetensors")
    for folder in lora_dirs:
        for name in list_models([folder]):
            if name.endswith(".safetensors"):
                yield folder / name
