"""What one picture file is, found out by decoding it once: format, size, what a trainer would trip over, fingerprints.

In: a file that anybody may have sent. Out: `PictureFacts`, always: a file that can't be read is a fact with a reason.
Only the formats that people train on are opened, and nothing larger than `MAX_PIXELS` is decoded.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image, ImageCms, ImageOps

from .picture_statistics import Statistics, difference_hashes, statistics_of

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
SUFFIX_OF = {"PNG": (".png",), "JPEG": (".jpg", ".jpeg"), "WEBP": (".webp",), "BMP": (".bmp",), "GIF": (".gif",), "TIFF": (".tif", ".tiff"), "AVIF": (".avif",)}  # fmt: skip
MAX_PIXELS = 100_000_000
MAX_BYTES = 512 << 20
EXIF_ORIENTATION = 0x0112
# What Pillow's decoders raise on damaged or hostile bytes; they are C and Python parsers of other people's data.
DECODER_FAILURES = (
    OSError, ValueError, SyntaxError, TypeError, LookupError, EOFError, ArithmeticError, AttributeError, RuntimeError,
    MemoryError, struct.error, zlib.error, Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip


@dataclass(frozen=True)
class PictureFacts:
    """One file. `reason` is empty for a readable picture, else `empty`, `huge`, `bomb`, `truncated` or `unreadable`.

    `width` and `height` are as stored, before any EXIF rotation; `profile` names a colour space other than sRGB; `pixels`
    is the hash of what is shown, however it is encoded.
    """

    bytes: int = 0
    sha256: str = ""
    reason: str = ""
    detail_of_reason: str = ""
    format: str = ""
    mode: str = ""
    width: int = 0
    height: int = 0
    animated: bool = False
    orientation: int = 1
    transparent: bool = False
    profile: str = ""
    pixels: str = ""
    dhash: str = ""
    mirrored_dhash: str = ""
    look: Statistics = field(default_factory=Statistics)

    @property
    def readable(self) -> bool:
        return not self.reason

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> PictureFacts:
        return cls(**{**data, "look": Statistics(**data["look"])})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def inspect_picture(file: Path) -> PictureFacts:
    """Everything there is to know about one file, from one full decode. Never raises for bad content."""
    try:
        size = file.stat().st_size
        if size == 0:
            return PictureFacts(reason="empty")
        if size > MAX_BYTES:
            return PictureFacts(bytes=size, reason="huge")
        raw = file.read_bytes()
    except OSError as error:
        return PictureFacts(reason="unreadable", detail_of_reason=error.strerror or "")
    facts = PictureFacts(bytes=size, sha256=hashlib.sha256(raw).hexdigest())
    try:
        with Image.open(io.BytesIO(raw), formats=FORMATS) as picture:
            facts = replace(facts, format=picture.format or "", mode=picture.mode, width=picture.width, height=picture.height)  # fmt: skip
            if picture.width * picture.height > MAX_PIXELS:
                return replace(facts, reason="bomb")
            facts = replace(
                facts,
                animated=bool(getattr(picture, "is_animated", False)),
                orientation=_orientation(picture),
                profile=_profile(picture),
            )
            picture.load()
            flat = picture.convert("RGB")
            return replace(facts, **_fingerprints(picture, flat), look=statistics_of(flat))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return replace(facts, reason="bomb")
    except DECODER_FAILURES as error:
        reason = "truncated" if "truncated" in str(error).lower() else "unreadable"
        return replace(facts, reason=reason, detail_of_reason=str(error)[:200])


def as_trained(file: Path, *, background: tuple[int, int, int] = (255, 255, 255)) -> Image.Image:
    """The picture upright, first frame, alpha laid over `background`, as RGB: how our engine reads it.

    Raises:
        OSError and its kin in `DECODER_FAILURES` for a file that `inspect_picture` calls unreadable.
    """
    with Image.open(file, formats=FORMATS) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise OSError("the picture has too many pixels")
        return flattened(upright(picture), background=background)


def upright(picture: Image.Image) -> Image.Image:
    """The picture turned as its EXIF orientation asks."""
    return ImageOps.exif_transpose(picture)


def flattened(picture: Image.Image, *, background: tuple[int, int, int]) -> Image.Image:
    """The picture as RGB, transparent parts filled with `background`."""
    if not _may_be_transparent(picture):
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    ground = Image.new("RGBA", layer.size, (*background, 255))
    return Image.alpha_composite(ground, layer).convert("RGB")


def distance(one: str, other: str) -> int:
    """Number of differing bits between two hexadecimal hashes."""
    return (int(one, 16) ^ int(other, 16)).bit_count()


def _orientation(picture: Image.Image) -> int:
    value = picture.getexif().get(EXIF_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _profile(picture: Image.Image) -> str:
    """Name of the embedded colour profile; empty when there is none or it is sRGB."""
    raw = picture.info.get("icc_profile")
    if not raw:
        return ""
    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(raw))).strip()
    except (ImageCms.PyCMSError, OSError, ValueError):
        return "unreadable profile"
    return "" if "srgb" in name.lower() else name or "unnamed profile"


def _may_be_transparent(picture: Image.Image) -> bool:
    return "A" in picture.mode or "a" in picture.mode or "transparency" in picture.info


def _fingerprints(picture: Image.Image, flat: Image.Image) -> dict[str, Any]:
    """Hash of what is shown (RGB, and alpha where there is some), and the two difference hashes."""
    alpha = picture.convert("RGBA").getchannel("A") if _may_be_transparent(picture) else None
    transparent = alpha is not None and any(alpha.histogram()[:255])
    digest = hashlib.sha256(f"{flat.size}".encode())
    digest.update(flat.tobytes())
    if alpha is not None and transparent:
        digest.update(alpha.tobytes())
    straight, mirrored = difference_hashes(flat)
    return {
        "transparent": transparent,
        "pixels": digest.hexdigest(),
        "dhash": straight,
        "mirrored_dhash": mirrored,
    }
