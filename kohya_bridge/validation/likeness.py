"""How alike pictures are: by pixels, by layout, by what an encoder sees.

In: pictures. Out: numbers and vectors. NumPy and Pillow only; knows no grids.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Numbers = NDArray[np.float32]


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean absolute difference of two pictures of the same size, 0 (equal) to 1."""
    return float(np.abs(_pixels(one) - _pixels(other)).mean() / 255.0)


def psnr_db(one: Image.Image, other: Image.Image) -> float:
    """Peak signal-to-noise ratio in dB; infinite for identical pictures."""
    squared = float(np.square(_pixels(one) - _pixels(other)).mean())
    return math.inf if squared == 0 else 10 * math.log10(255.0**2 / squared)


def dhash(picture: Image.Image) -> int:
    """64-bit difference hash: which pixel of each neighbouring pair of a 9 x 8 greyscale thumbnail is brighter."""
    grey = np.asarray(picture.convert("L").resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    bits = (grey[:, 1:] > grey[:, :-1]).ravel()
    return int("".join("1" if bit else "0" for bit in bits), 2)


def diversity(pictures: Sequence[Image.Image]) -> float | None:
    """Mean distance over all pairs: half hash distance (layout), half pixel difference. None for fewer than two."""
    if len(pictures) < 2:
        return None
    hashes = [dhash(each) for each in pictures]
    distances = [
        0.5 * (hashes[i] ^ hashes[j]).bit_count() / 64 + 0.5 * difference(pictures[i], pictures[j])
        for i, j in itertools.combinations(range(len(pictures)), 2)
    ]
    return float(np.mean(distances))


class Encoder(Protocol):
    """Turns pictures into vectors of length 1, so that their dot product is a similarity."""

    name: str

    def embed(self, pictures: Sequence[Image.Image]) -> Numbers:
        """`(N, D)`, one unit vector for each picture."""


class ThumbnailEncoder:
    """Colour and layout at 16 x 16: always there, blind to identity. Used when no image encoder is installed."""

    name = "thumbnail"

    def embed(self, pictures: Sequence[Image.Image]) -> Numbers:
        small = [
            np.asarray(each.convert("RGB").resize((16, 16), Image.Resampling.BOX), dtype=np.float32).ravel()
            for each in pictures
        ]
        vectors = np.stack(small) if small else np.zeros((0, 768), dtype=np.float32)
        vectors = vectors - vectors.mean(axis=1, keepdims=True)
        lengths: Numbers = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
        vectors = np.asarray(vectors / lengths, dtype=np.float32)
        return vectors


def _pixels(picture: Image.Image) -> Numbers:
    return np.asarray(picture.convert("RGB"), dtype=np.float32)
