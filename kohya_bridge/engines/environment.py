"""What a run was trained with: versions, git hashes, GPU and driver, as `environment.json`.

In: this machine. Out: plain facts, found without importing torch: package versions from their metadata, the GPU from
`nvidia-smi`. It judges nothing; `doctor` does.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from .. import __version__, json_text
from ..device.graphics import gpus
from ..run_folder import RunFolder
from ..workspace import PACK_ROOT

PACKAGES = (
    "torch",
    "diffusers",
    "peft",
    "accelerate",
    "transformers",
    "safetensors",
    "bitsandbytes",
    "prodigyopt",
    "lion-pytorch",
    "schedulefree",
    "xformers",
    "numpy",
    "pillow",
)


def describe_environment() -> dict[str, Any]:
    """Facts about this interpreter and machine. Takes a fraction of a second."""
    return {
        "pack_version": __version__,
        "pack_commit": git_commit(PACK_ROOT),
        "python": platform.python_version(),
        "interpreter": sys.executable,
        "system": platform.platform(),
        "cpu_count": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": gpus(),
        "packages": {name: version for name in PACKAGES if (version := package_version(name))},
    }


def write_environment(run: RunFolder) -> None:
    """Write `environment.json` unless the child, which knows its own interpreter best, has done so."""
    if not run.files.is_file(run.environment_file):
        run.files.write(run.environment_file, json_text.write(describe_environment(), indent=1))


def package_version(name: str) -> str | None:
    """The installed version of a package, None when it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_commit(folder: Path) -> str | None:
    """The commit that is checked out in `folder`, None without git or outside a checkout."""
    if not (folder / ".git").exists() or shutil.which("git") is None:
        return None
    return _first_line(["git", "-C", str(folder), "rev-parse", "HEAD"])


def _first_line(command: list[str]) -> str | None:
    lines = _output(command).splitlines()
    return lines[0] if lines else None


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
