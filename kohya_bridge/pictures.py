"""What one picture file is, found out by decoding it once: format, size, what a trainer would trip over, fingerprints.

In: a file that anybody may have sent. Out: `PictureFacts`, always: a file that can't be read is a fact with a reason.
Only the formats that people train on are opened, and nothing larger than `MAX_PIXELS` is decoded.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
SUFFIX_OF = {"PNG": (".png",), "JPEG": (".jpg", ".jpeg"), "WEBP": (".webp",), "BMP": (".bmp",), "GIF": (".gif",), "TIFF": (".tif", ".tiff"), "AVIF": (".avif",)}  # fmt: skip
MAX_PIXELS = 100_000_000
MAX_BYTES = 512 << 20
EXIF_ORIENTATION = 0x0112
STATISTICS_SIDE = 256
# What Pillow's decoders raise on damaged or hostile bytes; they are C and Python parsers of other people's data.
DECODER_FAILURES = (
    OSError, ValueError, SyntaxError, TypeError, LookupError, EOFError, ArithmeticError, AttributeError, RuntimeError,
    MemoryError, struct.error, zlib.error, Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip


@dataclass(frozen=True)
class PictureFacts:
    """One file. `reason` is empty for a readable picture, else `empty`, `huge`, `bomb`, `truncated` or `unreadable`.

    `width` and `height` are as stored, before any EXIF rotation. `sharpness` is the variance of the Laplacian at a
    longest side of 256 px, `brightness` and `contrast` the mean and standard deviation of grey values (0 to 255),
    `colour` the mean spread between channels, `detail` the entropy of grey values in bits, `border` the largest share
    of the height or width that a plain bar fills at one edge.
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
    sharpness: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    colour: float = 0.0
    detail: float = 0.0
    border: float = 0.0

    @property
    def readable(self) -> bool:
        return not self.reason

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
            facts = _with(facts, format=picture.format or "", mode=picture.mode, width=picture.width, height=picture.height)  # fmt: skip
            if picture.width * picture.height > MAX_PIXELS:
                return _with(facts, reason="bomb")
            facts = _with(
                facts,
                animated=bool(getattr(picture, "is_animated", False)),
                orientation=_orientation(picture),
                profile=_profile(picture),
            )
            picture.load()
            return _with(facts, **_fingerprints(picture), **_statistics(picture))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return _with(facts, reason="bomb")
    except DECODER_FAILURES as error:
        reason = "truncated" if "truncated" in str(error).lower() else "unreadable"
        return _with(facts, reason=reason, detail_of_reason=str(error)[:200])


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
    from PIL import ImageOps

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


def difference_hash(picture: Image.Image) -> str:
    """A 256-bit difference hash in hex: one bit for each clear step to a brighter neighbour on a 17x16 grid of means.

    Source: Neal Krawetz, "Kind of Like That" (2013), with a threshold of 2 grey levels, so that compression noise in flat
    areas sets no bits. It survives scaling and re-encoding, not cropping.
    """
    grid = np.asarray(picture.convert("L").resize((17, 16), Image.Resampling.BOX), np.int16)
    return np.packbits(grid[:, 1:] > grid[:, :-1] + 2).tobytes().hex()


def _with(facts: PictureFacts, **changes: Any) -> PictureFacts:
    return PictureFacts(**{**asdict(facts), **changes})


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


def _fingerprints(picture: Image.Image) -> dict[str, Any]:
    rgba = picture.convert("RGBA")
    small = picture.convert("RGB").resize((136, 128), Image.Resampling.BOX, reducing_gap=2.0)
    return {
        "transparent": _may_be_transparent(picture) and rgba.getchannel("A").getextrema()[0] < 255,
        "pixels": hashlib.sha256(f"{rgba.size}".encode() + rgba.tobytes()).hexdigest(),
        "dhash": difference_hash(small),
        "mirrored_dhash": difference_hash(small.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
    }


def _statistics(picture: Image.Image) -> dict[str, float]:
    small = picture.convert("RGB")
    small.thumbnail((STATISTICS_SIDE, STATISTICS_SIDE), Image.Resampling.BOX, reducing_gap=2.0)
    rgb = np.asarray(small, np.float32)
    grey = rgb @ np.array([0.299, 0.587, 0.114], np.float32)
    histogram = np.bincount(grey.astype(np.uint8).ravel(), minlength=256) / grey.size
    shares = histogram[histogram > 0]
    values = {
        "sharpness": _laplacian_variance(grey),
        "brightness": float(grey.mean()),
        "contrast": float(grey.std()),
        "colour": float((rgb.max(axis=2) - rgb.min(axis=2)).mean()),
        "detail": float(-(shares * np.log2(shares)).sum()),
        "border": _border(grey),
    }
    return {name: round(value, 3) for name, value in values.items()}


def _laplacian_variance(grey: np.ndarray) -> float:
    if min(grey.shape) < 3:
        return 0.0
    middle = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((around - 4 * middle).var())


def _border(grey: np.ndarray) -> float:
    """Share of height or width filled by a pair of plain black or white bars (letterbox or pillarbox).

    A subject on a plain background is no bar: the line next to a bar must differ from it nearly everywhere.
    """
    best = 0.0
    for lines in (grey, grey.T):
        plain = (lines.std(axis=1) < 2.0) & ((lines.mean(axis=1) < 8) | (lines.mean(axis=1) > 247))
        if plain.all():
            continue
        head, tail = int(np.argmin(plain)), int(np.argmin(plain[::-1]))
        if head and tail and all(
            (np.abs(lines[inner] - lines[bar].mean()) < 8).mean() < 0.35
            for inner, bar in ((head, 0), (len(lines) - 1 - tail, -1))
        ):  # fmt: skip
            best = max(best, (head + tail) / len(lines))
    return best
