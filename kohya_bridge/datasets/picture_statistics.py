"""What a picture looks like in numbers, cheap enough to leave decoding as the main cost of a lint.

In: a decoded picture. Out: `Statistics`. Everything but the last two comes from a copy reduced to about 256 px; those
look at a window of 256 px in the middle at full size. No judgement here: thresholds are `LintSettings`. Pillow counts where
it can: its loops run without Python's lock, so that other threads decode meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops

from .jpeg_blocks import BLOCK, visible_blocks

SIDE, WINDOW = 256, 256
LEVELS = np.arange(256, dtype=np.float64)


@dataclass(frozen=True)
class Statistics:
    """`sharpness` variance of the Laplacian; `brightness`, `contrast` mean and deviation of grey (0 to 255); `colour` mean
    spread between channels; `detail` entropy of grey in bits; `border` share of height or width under plain bars;
    `blocks` how much more often small steps stand out on JPEG's 8 px grid than beside it; `fineness` what a halving loses, relative to
    contrast."""

    sharpness: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    colour: float = 0.0
    detail: float = 0.0
    border: float = 0.0
    blocks: float = 1.0
    fineness: float = 1.0


TURNS = (
    "is nearly the same as {}",
    "is nearly the mirror image of {}",
    "is nearly {}, upside down",
    "is nearly the mirror image of {}, upside down",
    "is nearly {}, turned by 90 degrees",
    "is nearly {}, turned by 270 degrees",
    "is nearly the mirror image of {}, turned by 90 degrees",
    "is nearly the mirror image of {}, turned by 270 degrees",
)
"""The eight ways to lay a picture down, the usual one first: what each makes of another picture. Degrees count against the clock."""


def fingerprint(picture: Image.Image) -> tuple[tuple[str, ...], Statistics]:
    """Difference hashes of an RGB picture in every way to lay it down (`TURNS`), and its statistics."""
    small = _reduced(picture)
    return difference_hashes(small), statistics_of(small, _middle(picture))


def difference_hashes(small: Image.Image) -> tuple[str, ...]:
    """256-bit difference hashes in hex of a picture (about 256 px suffice), one for each of `TURNS`.

    One bit for each clear step to a brighter neighbour on a 17x16 grid of means. Source: Neal Krawetz, "Kind of Like That"
    (2013), with a threshold of 2 grey levels, so that compression noise in flat areas sets no bits. It survives scaling
    (up to 7 bits), re-encoding (3) and brightening (9), not cropping.
    """
    grey = small.convert("L")
    wide, tall = (
        np.asarray(grey.resize(size, Image.Resampling.BOX), np.int16) for size in ((17, 16), (16, 17))
    )
    lying = tall.T  # mirrored along the diagonal
    grids = (
        wide,
        wide[:, ::-1],
        wide[::-1, ::-1],
        wide[::-1],
        lying[::-1],
        lying[:, ::-1],
        lying,
        lying[::-1, ::-1],
    )
    return tuple(np.packbits(grid[:, 1:] > grid[:, :-1] + 2).tobytes().hex() for grid in grids)


def statistics_of(small: Image.Image, middle: Image.Image) -> Statistics:
    """The numbers of a picture, from its reduced copy and its grey window at full size."""
    shade = small.convert("L")
    shares = _shares(shade)
    brightness, contrast = _mean_and_deviation(shares)
    grey = np.asarray(shade, np.float32)
    values = {
        "sharpness": _laplacian_variance(grey),
        "brightness": brightness,
        "contrast": contrast,
        "colour": _spread(small),
        "detail": _entropy(shares),
        "border": _border(grey),
        "blocks": visible_blocks(np.asarray(middle)),
        "fineness": _fineness(middle),
    }
    return Statistics(**{name: round(value, 3) for name, value in values.items()})


def _reduced(picture: Image.Image) -> Image.Image:
    factor = max(1, max(picture.size) // SIDE)
    return picture.reduce(factor) if factor > 1 else picture


def _middle(picture: Image.Image) -> Image.Image:
    """A grey window in the middle, aligned to the grid of JPEG blocks."""
    width, height = min(WINDOW, picture.width), min(WINDOW, picture.height)
    left = (picture.width - width) // 2 // BLOCK * BLOCK
    top = (picture.height - height) // 2 // BLOCK * BLOCK
    return picture.crop((left, top, left + width, top + height)).convert("L")


def _shares(grey: Image.Image) -> np.ndarray:
    """Share of the pixels at each of the 256 grey levels."""
    return np.asarray(grey.histogram(), np.float64) / (grey.width * grey.height)


def _mean_and_deviation(shares: np.ndarray) -> tuple[float, float]:
    mean = float(shares @ LEVELS)
    return mean, float(np.sqrt(shares @ (LEVELS - mean) ** 2))


def _spread(rgb: Image.Image) -> float:
    red, green, blue = rgb.split()
    highest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    lowest = ImageChops.darker(ImageChops.darker(red, green), blue)
    return _mean_and_deviation(_shares(ImageChops.difference(highest, lowest)))[0]


def _laplacian_variance(grey: np.ndarray) -> float:
    if min(grey.shape) < 3:
        return 0.0
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((around - 4 * grey[1:-1, 1:-1]).var())


def _entropy(shares: np.ndarray) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum())


def _border(grey: np.ndarray) -> float:
    """Share of height or width filled by a pair of plain black or white bars (letterbox or pillarbox).

    A subject on a plain background is no bar: the line next to a bar must differ from it nearly everywhere.
    """
    best = 0.0
    for lines in (grey, grey.T):
        if not (_is_bar(lines[:1])[0] and _is_bar(lines[-1:])[0]):
            continue  # hardly any picture gets past this line
        plain = _is_bar(lines)
        if plain.all():
            continue
        head, tail = int(np.argmin(plain)), int(np.argmin(plain[::-1]))
        # The line at the seam is a mixture after reducing; the one behind it is all picture.
        inner_head, inner_tail = min(head + 1, len(lines) - 1), max(len(lines) - 2 - tail, 0)
        if head and tail and all(
            (np.abs(lines[inner] - lines[bar].mean()) < 8).mean() < 0.35
            for inner, bar in ((inner_head, 0), (inner_tail, -1))
        ):  # fmt: skip
            best = max(best, (head + tail) / len(lines))
    return best


def _is_bar(lines: np.ndarray) -> np.ndarray:
    """Which lines are plain black or plain white."""
    means = lines.mean(axis=1)
    bars: np.ndarray = (lines.std(axis=1) < 2.0) & ((means < 8) | (means > 247))
    return bars


def _fineness(grey: Image.Image) -> float:
    """What is lost by averaging 2x2 and going back, relative to contrast: near 0 for a picture that was enlarged."""
    if min(grey.size) < 8:
        return 1.0
    coarse = grey.reduce(2).resize(grey.size, Image.Resampling.BILINEAR)
    contrast = _mean_and_deviation(_shares(grey))[1]
    # Rounding to whole grey levels three times alone loses about 0.3 squared levels.
    squared = max(0.0, float(_shares(ImageChops.difference(grey, coarse)) @ LEVELS**2) - 0.3)
    return float(np.sqrt(squared)) / contrast if contrast >= 1 else 1.0
