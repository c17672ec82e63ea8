"""How much of a diffusion model lies in a file, and in which formats: by the header alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from ..errors import BridgeError
from .base_models import PREFIXES
from .safetensors_header import BYTES_PER_NUMBER, TensorInfo, read_header

_HALF = 2


@dataclass(frozen=True)
class StoredWeights:
    """Counts of a diffusion model's weights."""

    numbers: int
    """All of them."""
    small_numbers: int
    """Those of less than 16 bits (fp8 and other quantised formats)."""
    small_bytes: int
    """What those take."""


def weights_in(file: Path) -> StoredWeights | None:
    """The diffusion model's weights in a bare file or in a whole checkpoint; None for a folder, or what can't be read."""
    try:
        tensors = read_header(file).tensors
    except BridgeError:
        return None
    prefix = next(each for each in PREFIXES if any(name.startswith(each) for name in tensors) or not each)
    infos = [info for name, info in tensors.items() if name.startswith(prefix)]
    small = [info for info in infos if BYTES_PER_NUMBER[info.dtype] < _HALF]
    return StoredWeights(
        numbers=sum(map(_numbers, infos)),
        small_numbers=sum(map(_numbers, small)),
        small_bytes=sum(info.end - info.begin for info in small),
    )


def _numbers(info: TensorInfo) -> int:
    """Two 4-bit weights lie in one U8."""
    return math.prod(info.shape) * (2 if info.dtype == "U8" else 1)
