"""What a run was computed with: versions, commits, device. In: a run's folder. Out: `environment.json`."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from typing import Any

import torch

from ... import json_text
from ...device.accelerator import Accelerator
from ...device.graphics import gpus
from ...files import Tree
from ...workspace import PACK_ROOT
from ..environment import PACKAGES, git_commit, package_version


def write_environment(run: Tree, *, device: torch.device, more: Mapping[str, str] | None = None) -> None:
    """Write what this process is made of, and `more` that a model side knows."""
    run.write("environment.json", json_text.write({**describe(device), **(more or {})}, indent=1))


def describe(device: torch.device) -> dict[str, Any]:
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {name: known for name in PACKAGES if (known := package_version(name))},
        "pack_commit": git_commit(PACK_ROOT),
        "device": device.type,
        "threads": torch.get_num_threads(),
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
    }
    accelerator = Accelerator.of(torch, device)
    if accelerator.is_gpu:
        told = accelerator.describe()
        found |= {
            "gpu": told.name,
            "arch": told.arch,
            "vram_gib": told.memory_gib,
            "vram_free_gib": accelerator.free_gib(),
            "cuda": torch.version.cuda,
            "gpus": gpus(),  # with the driver's version, which torch does not know
        }
    return found
