"""A picture's pixels as a person sees them: upright, 8 bits a value, in sRGB. For imports and repairs alike.

In: a file and its facts. Out: which changes its colours need, and the changed picture. Nothing is written here.
"""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageCms

from ..files import open_named
from .pictures import PictureFacts, eight_bits, may_be_transparent, opened, upright

PLAIN_MODES = ("RGB", "RGBA", "L", "LA", "P", "PA", "1", "RGBX")
UNREADABLE_PROFILE = "unreadable profile"


def repairs_of_colours(facts: PictureFacts) -> list[tuple[str, str]]:
    """`(lint rule, sentence)` of each change that the colours need."""
    due = []
    if facts.profile and facts.profile != UNREADABLE_PROFILE:
        due.append(("W207", f"Convert its colours from {facts.profile[:40]!r} to sRGB."))
    if facts.mode not in PLAIN_MODES:
        due.append(("W206", f"Save it as 8-bit RGB instead of {facts.mode}."))
    return due


def as_seen(file: Path) -> Image.Image:
    """The first frame upright, with 8 bits a value and in sRGB, without any of the file's metadata; transparency stays.

    Raises:
        OSError and its kin in `pictures.DECODER_FAILURES` for a file that can't be decoded.
    """
    with open_named(file) as stream, opened(stream) as picture:
        picture.load()
        profile = picture.info.get("icc_profile")
        see_through = may_be_transparent(picture)
        picture = eight_bits(upright(picture))
        if profile and picture.mode in ("RGB", "CMYK", "L", "LAB"):
            picture = _in_srgb(picture, profile)
        picture = picture.convert("RGBA" if see_through else "RGB")
        picture.info = {}
        return picture


def _in_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """Colours converted by the embedded profile; a profile that does not fit the pixels leaves them as they are."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        srgb = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(picture, source, srgb, outputMode="RGB") or picture
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture
