"""What a run was computed with: versions, commits, device. In: a file to write. Out: `environment.json`."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ...workspace import PACK_ROOT, write_atomically

PACKAGES = (
    "torch", "diffusers", "transformers", "accelerate", "safetensors", "numpy", "pillow",
    "bitsandbytes", "prodigyopt", "lion-pytorch", "schedulefree", "xformers",
)  # fmt: skip


def write_environment(file: Path, *, device: torch.device) -> None:
    """Write what this process is made of."""
    write_atomically(file, json.dumps(describe(device), indent=1))


def describe(device: torch.device) -> dict[str, Any]:
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {name: known for name in PACKAGES if (known := _version(name))},
        "pack_commit": pack_commit(),
        "device": device.type,
        "threads": torch.get_num_threads(),
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "gpu": properties.name,
            "vram_gib": round(properties.total_memory / 2**30, 1),
            "cuda": torch.version.cuda,
        }
    return found


def pack_commit() -> str | None:
    """The git commit of this pack, None where it was installed without git."""
    try:
        asked = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=PACK_ROOT,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout.strip() or None if asked.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
