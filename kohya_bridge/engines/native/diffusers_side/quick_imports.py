"""Importing diffusers without the packages that it would pull in for features which nothing here uses.

In: nothing. Out: `torch` and `diffusers` imported, in about two thirds of the time. diffusers imports peft, bitsandbytes
and more wherever it finds them; for the moment of its import they are declared absent, in Python's own way (None in
`sys.modules`). Afterwards they are there again: an 8-bit optimiser imports bitsandbytes itself.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager

UNUSED = ("bitsandbytes", "peft", "scipy", "torchao", "gguf", "optimum", "onnx", "cv2")


def import_diffusers() -> None:
    """Import what the engine needs of diffusers. Does nothing new where diffusers is imported already."""
    importlib.import_module("torch")
    if "diffusers" not in sys.modules:
        with absent(*UNUSED):
            diffusers = importlib.import_module("diffusers")
            for name in ("UNet2DConditionModel", "AutoencoderKL", "AutoencoderTiny"):
                getattr(diffusers, name)  # diffusers imports its parts when they are asked for


@contextmanager
def absent(*packages: str) -> Iterator[None]:
    """For as long as the block lasts, Python finds none of these packages (but those that are imported already)."""
    hidden = [name for name in packages if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
