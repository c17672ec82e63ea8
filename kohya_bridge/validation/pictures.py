"""Pictures as PNG bytes with texts inside, and back.

In: a picture. Out: bytes that are the same for the same pixels and texts. In: a name in a folder. Out: its pixels.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..datasets.pictures import DECODER_FAILURES, opened
from ..files import Tree
from ..reasons import reason_of


def png_bytes(picture: Image.Image, texts: Mapping[str, str] | None = None) -> bytes:
    """`picture` as a PNG; `texts` become its text chunks, in UTF-8."""
    information = PngInfo()
    for key, text in (texts or {}).items():
        information.add_itxt(key, text)
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "PNG", pnginfo=information)
    return buffer.getvalue()


def open_picture(files: Tree, name: Path | str) -> Image.Image:
    """A picture of that folder as RGB. Raises OSError: it is not there, is no plain file, or can't be decoded."""
    try:
        with files.open(name) as stream, opened(stream) as picture:
            return picture.convert("RGB")
    except OSError:
        raise
    except DECODER_FAILURES as error:
        raise OSError(f"{name} can't be decoded: {reason_of(error)}") from error
