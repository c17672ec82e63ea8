"""Where things lie on this machine: the workspace and ComfyUI's model folders.

In: what the host or a shell found. Out: one value that is handed to whoever looks a name up. No part of a run's identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .disk_need import LEAST_FREE_BYTES
from .workspace import Workspace


@dataclass(frozen=True)
class Places:
    """Where things lie on this machine."""

    workspace: Workspace
    checkpoint_dirs: Sequence[Path]
    lora_dirs: Sequence[Path]
    tokenizer_dir: Path
    least_free_bytes: int = LEAST_FREE_BYTES
