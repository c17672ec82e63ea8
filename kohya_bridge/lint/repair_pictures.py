"""Mending the pixels of one picture: upright, opaque, 8-bit RGB in sRGB, under an ending that trainers look for.

In: a file and its facts. Out: which changes are due, and the mended picture. Nothing is written here.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..datasets.picture_colours import as_seen, repairs_of_colours
from ..datasets.pictures import PictureFacts, flattened

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class PictureRepair:
    """Changes that are due for one picture: `(rule, sentence)` each, and a function that makes the mended picture."""

    actions: tuple[tuple[str, str], ...]
    made: Callable[[], Image.Image]


def picture_repair(file: Path, facts: PictureFacts, *, background: Colour) -> PictureRepair | None:
    """What is due for this picture, or None."""
    actions = []
    if facts.orientation != 1:
        actions.append(("W204", "Turn the pixels as the EXIF tag says, and drop the tag."))
    if facts.transparent:
        actions.append(("W205", f"Lay it on the colour {background}."))
    actions += repairs_of_colours(facts)
    if facts.animated:
        actions.append(("W208", "Keep its first frame."))
    return PictureRepair(tuple(actions), lambda: _mended(file, background)) if actions else None


def encoded(picture: Image.Image, suffix: str) -> bytes:
    """The picture as the bytes of a file with that ending; lossy formats at a quality that loses nothing visible."""
    buffer = io.BytesIO()
    if suffix in (".jpg", ".jpeg"):
        picture.save(buffer, format="JPEG", quality=97, subsampling=0)
    elif suffix == ".webp":
        picture.save(buffer, format="WEBP", lossless=True)
    else:
        picture.save(buffer, format="BMP" if suffix == ".bmp" else "PNG")
    return buffer.getvalue()


def _mended(file: Path, background: Colour) -> Image.Image:
    picture = flattened(as_seen(file), background=background)
    picture.info = {}
    return picture
