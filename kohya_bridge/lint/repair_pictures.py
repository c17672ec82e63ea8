"""Mending the pixels of one picture: upright, opaque, 8-bit RGB in sRGB, under an ending that trainers look for.

In: a file and its facts. Out: which changes are due, and the mended picture. Nothing is written here.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageCms

from ..datasets.pictures import PictureFacts, flattened, opened, upright
from ..files import open_named

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
    if facts.profile and facts.profile != "unreadable profile":
        actions.append(("W207", f"Convert its colours from {facts.profile[:40]!r} to sRGB."))
    if facts.mode not in ("RGB", "RGBA", "L", "LA", "P", "PA", "1", "RGBX"):
        actions.append(("W206", f"Save it as 8-bit RGB instead of {facts.mode}."))
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
    with open_named(file) as stream, opened(stream) as picture:
        picture.load()
        profile = picture.info.get("icc_profile")
        picture = _eight_bits(upright(picture))
        if profile and picture.mode in ("RGB", "CMYK", "L", "LAB"):
            picture = _in_srgb(picture, profile)
        picture = flattened(picture, background=background)
        picture.info = {}
        return picture


def _eight_bits(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16") or picture.mode == "I":
        return picture.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    if picture.mode == "F":
        return picture.convert("L")
    return picture


def _in_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """Colours converted by the embedded profile; a profile that does not fit the pixels leaves them as they are."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return (
            ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            or picture
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture
