"""How strongly the blocks of JPEG compression can be seen in a picture.

In: grey values, aligned to the grid of 8 px. Out: a ratio, 1 for a picture without. A step across the grid is a trace of compression
where it is small and the steps beside it are smaller still, all over the textured parts; drawn edges, panels and enlarged pixels that
happen to lie on the grid are larger or few, or have nothing but plain blocks beside them, or all the frequencies of a hard edge, which
strong compression takes away.
"""

from __future__ import annotations

import numpy as np

BLOCK = 8
_LARGEST_STEP = 32  # grey levels; the steps between blocks of a picture at quality 5 are about 20
_NOISE = 2.0  # what rounding to whole grey levels leaves in a coefficient
_LEAST_TEXTURED = 0.05
_LEAST_EMPTY = 0.5
_LEAST_AROUND = 0.2

_AT = np.arange(BLOCK)
_DCT = np.sqrt(2 / BLOCK) * np.cos((2 * _AT[None] + 1) * _AT[:, None] * np.pi / (2 * BLOCK))
_DCT[0] /= np.sqrt(2)
_DCT = _DCT.astype(np.float32)
"""The orthonormal DCT-II that JPEG uses (ITU T.81, A.3.3)."""


def visible_blocks(grey_HW: np.ndarray) -> float:
    """How much more often a small step stands out on the 8 px grid than on any grid that is shifted against it."""
    if min(grey_HW.shape) < 4 * BLOCK or not _could_be_compressed(grey_HW):
        return 1.0
    by_place = np.zeros(BLOCK)
    around = []
    for grey in (grey_HW, grey_HW.T):
        standing = _steps_that_stand_out(grey)
        place = np.arange(1, len(standing) + 1) % BLOCK
        by_place += [standing[place == each].mean() for each in range(BLOCK)]
        around.append(_share_around_textured_blocks(standing[BLOCK - 1 :: BLOCK], _textured(grey)))
    if np.mean(around) < _LEAST_AROUND:
        return 1.0
    return float((by_place[0] + 0.02) / (by_place[1:].max() + 0.02))


def _blocks_of(grey_HW: np.ndarray) -> np.ndarray:
    """(rows of blocks, columns of blocks, 8, 8): the whole blocks of a picture."""
    height, width = (size // BLOCK for size in grey_HW.shape)
    whole = grey_HW[: height * BLOCK, : width * BLOCK].reshape(height, BLOCK, width, BLOCK)
    blocks: np.ndarray = whole.swapaxes(1, 2)
    return blocks


def _textured(grey_HW: np.ndarray) -> np.ndarray:
    """Which blocks are not plain."""
    blocks = _blocks_of(grey_HW)
    textured: np.ndarray = blocks.max((2, 3)) - blocks.min((2, 3)) > 1
    return textured


def _could_be_compressed(grey_HW: np.ndarray) -> bool:
    """Whether there are blocks that are not plain, and most of their frequencies are empty."""
    textured = _textured(grey_HW)
    if textured.mean() < _LEAST_TEXTURED:
        return False
    frequencies = np.abs(_DCT @ _blocks_of(grey_HW)[textured].astype(np.float32) @ _DCT.T)
    return bool((frequencies < _NOISE).mean() >= _LEAST_EMPTY)


def _steps_that_stand_out(grey_HW: np.ndarray) -> np.ndarray:
    """Where a step to the row below is larger than the steps above and below it."""
    steps = np.abs(np.diff(grey_HW.astype(np.int16), axis=0))
    found = np.zeros(steps.shape, bool)
    between = steps[1:-1]
    found[1:-1] = (between > steps[:-2]) & (between > steps[2:]) & (between <= _LARGEST_STEP)
    return found


def _share_around_textured_blocks(on_grid: np.ndarray, textured: np.ndarray) -> float:
    """Share of the steps on the grid that stand out where the block above or below is textured: in compressed pictures most of them do,
    while drawn edges touch the grid here and there."""
    beside = np.repeat(textured[:-1] | textured[1:], BLOCK, axis=1)
    height, width = min(len(beside), len(on_grid)), beside.shape[1]
    chosen = on_grid[:height, :width][beside[:height]]
    return float(chosen.mean()) if chosen.size else 0.0
