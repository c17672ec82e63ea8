"""Pictures as PNG bytes with texts inside.

In: a picture. Out: bytes that are the same for the same pixels and texts.
"""

from __future__ import annotations

import io
from collections.abc import Mapping

from PIL import Image
from PIL.PngImagePlugin import PngInfo


def png_bytes(picture: Image.Image, texts: Mapping[str, str] | None = None) -> bytes:
    """`picture` as a PNG; `texts` become its text chunks, in UTF-8."""
    information = PngInfo()
    for key, text in (texts or {}).items():
        information.add_itxt(key, text)
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "PNG", pnginfo=information)
    return buffer.getvalue()
