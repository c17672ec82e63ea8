"""The ComfyUI that hosts this pack, opened in a child process without its server.

In: its folder, where the running one finds its packages, and a device. Out: a `Host` with its version, and `comfy` ready to be imported. Neither server nor nodes nor
folder_paths are imported, nothing enters inference mode, and nothing is downloaded.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ....reasons import reason_of
from ...child import ChildFailure
from ...environment import git_commit
from .kernels import use_differentiable_kernels


@dataclass(frozen=True)
class Host:
    """An opened ComfyUI."""

    dir: Path
    version: str
    commit: str

    @property
    def name(self) -> str:
        """Version and commit, as runs and cache entries are told apart by."""
        return f"{self.version} {self.commit}".strip()


def open_host(folder: Path, device: torch.device, import_dirs: Sequence[str] = ()) -> Host:
    """Make `comfy` importable and set it up for training. What this Python lacks is looked for in `import_dirs` as well: whoever
    started ComfyUI may have put its packages on the path of that process alone.

    Raises:
        ChildFailure: there is no ComfyUI in `folder`, or it lacks a package.
    """
    if not (folder / "comfy" / "sd.py").is_file():
        raise ChildFailure(
            f"{folder} is not a ComfyUI folder, and this model family is trained through ComfyUI's own models.",
            "Start the training from ComfyUI, or set COMFYUI_DIR to its folder.",
            code="no_host",
        )
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    sys.path += [each for each in import_dirs if each not in sys.path]
    try:
        _prepare(device)
    except ImportError as error:
        raise ChildFailure(
            f"ComfyUI in {folder} can't be loaded: {reason_of(error)}.",
            "Train with the Python that ComfyUI itself runs with.",
            code="no_host",
        ) from error
    version = str(importlib.import_module("comfyui_version").__version__)
    return Host(folder, version, git_commit(folder) or "")


def _prepare(device: torch.device) -> None:
    arguments = importlib.import_module("comfy.cli_args").args
    # comfy asks for a CUDA device while it is imported, unless it is told that there is none
    arguments.cpu = device.type == "cpu"
    # SDPA has a backward and chooses the same way each time; the chunks of what a CPU gets otherwise depend on free memory
    arguments.use_pytorch_cross_attention = True
    management: Any = importlib.import_module("comfy.model_management")
    importlib.import_module("comfy.sd")
    management.in_training = True  # newer versions then leave fused kernels alone that have no backward
    use_differentiable_kernels()
