"""Starting from an existing LoRA: its name or digest, and where the file lies.

In: the `network_weights` of a request: a name as ComfyUI's LoRA list shows it, or a SHA-256. Out: the digest, which is
part of the run's identity, and the path, which is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import NotFound
from ..workspace import Workspace, file_sha256
from .model_files import find_model, list_models

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class StartingLora:
    """What a plan says of it (`settings`) and where it lies (`extra` of the machine's paths). Both empty without one."""

    settings: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, str] = field(default_factory=dict)


def resolve_network_weights(
    settings: Mapping[str, Any], workspace: Workspace, lora_dirs: Sequence[Path]
) -> StartingLora:
    """Raises NotFound or InvalidInput when no file has that name or digest."""
    wanted = settings.get("network_weights")
    if not isinstance(wanted, str) or not wanted:
        return StartingLora()
    if _DIGEST.fullmatch(wanted):
        file = _file_of_digest(wanted, workspace, lora_dirs)
    else:
        file = find_model(wanted, lora_dirs, what="LoRA")
    digest = file_sha256(file, cache_dir=workspace.cache_dir)
    return StartingLora({"network_weights": digest}, {"network_weights": str(file)})


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
