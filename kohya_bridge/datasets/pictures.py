"""What one picture file is, found out by decoding it once: format, size, what a trainer would trip over, fingerprints.

In: a file that anybody may have sent. Out: `PictureFacts`, always: a file that can't be read is a fact with a reason.
Only the formats that people train on are opened, and nothing larger than `MAX_PIXELS` is decoded.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import IO, Any

from PIL import Image, ImageCms, ImageOps

from ..files import open_named, read_named
from ..reasons import reason_of
from .picture_statistics import Statistics, fingerprint

HEIF_SUFFIXES = (".heic", ".heif", ".hif")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
SUFFIX_OF = {"PNG": (".png",), "JPEG": (".jpg", ".jpeg"), "WEBP": (".webp",), "BMP": (".bmp",), "GIF": (".gif",), "TIFF": (".tif", ".tiff"), "AVIF": (".avif",), "HEIF": HEIF_SUFFIXES}  # fmt: skip
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
    is `pixel_digest`, filled in by lint only where another picture looks the same.
    """

    bytes: int = 0
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
    dhashes: tuple[str, ...] = ("",)
    """As if the picture were laid down in each of `picture_statistics.TURNS`; the first is as it is."""
    look: Statistics = field(default_factory=Statistics)

    @property
    def readable(self) -> bool:
        return not self.reason

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> PictureFacts:
        told = {"look": Statistics(**data["look"]), "dhashes": tuple(data["dhashes"])}
        return cls(**{**data, **told})

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
        raw = read_named(file, most=MAX_BYTES)
    except OSError as error:
        return PictureFacts(reason="unreadable", detail_of_reason=reason_of(error))
    facts = PictureFacts(bytes=size)
    try:
        with Image.open(io.BytesIO(raw), formats=formats()) as picture:
            facts = replace(facts, format=picture.format or "", mode=picture.mode, width=picture.width, height=picture.height)  # fmt: skip
            if picture.width * picture.height > MAX_PIXELS:
                return replace(facts, reason="bomb")
            # First the whole decode: asking a PNG for its EXIF before that makes Pillow decode it twice.
            picture.load()
            flat = picture if picture.mode == "RGB" else eight_bits(picture).convert("RGB")
            dhashes, look = fingerprint(flat)
            return replace(
                facts,
                animated=bool(getattr(picture, "is_animated", False)),
                orientation=_orientation(picture),
                profile=_profile(picture),
                transparent=_is_transparent(picture),
                dhashes=dhashes,
                look=look,
            )
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return replace(facts, reason="bomb")
    except DECODER_FAILURES as error:
        reason = "truncated" if "truncated" in str(error).lower() else "unreadable"
        return replace(facts, reason=reason, detail_of_reason=str(error)[:200])


@cache
def reads_heif() -> bool:
    """Whether phones' HEIC pictures can be read: pillow-heif is an extra, and Pillow's plug-in for them once it is asked for here."""
    if importlib.util.find_spec("pillow_heif") is None:
        return False
    importlib.import_module("pillow_heif").register_heif_opener()
    return True


def formats() -> tuple[str, ...]:
    """The formats that are opened."""
    return (*FORMATS, "HEIF") if reads_heif() else FORMATS


@contextmanager
def opened(stream: IO[bytes]) -> Iterator[Image.Image]:
    """A picture that anybody may have made, not decoded yet: of one of `formats()`, whatever its name says, and of at most `MAX_PIXELS`.

    Pillow itself would ask every decoder that it has, and start Ghostscript for what begins as PostScript.

    Raises:
        OSError and its kin in `DECODER_FAILURES`, also within the block.
    """
    with Image.open(stream, formats=formats()) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise OSError("the picture has too many pixels")
        yield picture


def pixel_digest(picture: Image.Image) -> str:
    """SHA-256 in hex of what a picture shows: its size and RGBA values, however the file is encoded."""
    flat = eight_bits(picture).convert("RGBA")
    return hashlib.sha256(f"{flat.size}".encode() + flat.tobytes()).hexdigest()


def file_pixel_digest(file: Path) -> str:
    """`pixel_digest` of a file's first frame. Raises OSError and its kin in `DECODER_FAILURES` for a damaged one."""
    with open_named(file) as stream, opened(stream) as picture:
        return pixel_digest(picture)


def as_trained(file: Path, *, background: tuple[int, int, int] = (255, 255, 255)) -> Image.Image:
    """The picture upright, first frame, alpha laid over `background`, as RGB: how our engine reads it.

    Raises:
        OSError and its kin in `DECODER_FAILURES` for a file that `inspect_picture` calls unreadable.
    """
    with open_named(file) as stream, opened(stream) as picture:
        return flattened(upright(picture), background=background)


def upright(picture: Image.Image) -> Image.Image:
    """The picture turned as its EXIF orientation asks."""
    return ImageOps.exif_transpose(picture)


def eight_bits(picture: Image.Image) -> Image.Image:
    """A picture of 16 or 32 bits a value with 8, as it looks: Pillow's own conversion takes everything above 255 for white."""
    if picture.mode.startswith("I;16") or picture.mode == "I":
        return picture.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    return picture.convert("L") if picture.mode == "F" else picture


def flattened(picture: Image.Image, *, background: tuple[int, int, int]) -> Image.Image:
    """The picture as RGB, transparent parts filled with `background`."""
    picture = eight_bits(picture)
    if not may_be_transparent(picture):
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    ground = Image.new("RGBA", layer.size, (*background, 255))
    return Image.alpha_composite(ground, layer).convert("RGB")


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


def _is_transparent(picture: Image.Image) -> bool:
    """Whether some pixel lets the ground through; an alpha channel alone does not say so."""
    if not may_be_transparent(picture):
        return False
    return any(picture.convert("RGBA").getchannel("A").histogram()[:255])


def may_be_transparent(picture: Image.Image) -> bool:
    return picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info
