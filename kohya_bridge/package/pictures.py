"""The pictures of a package: a thumbnail small enough for a file header, and a preview that carries its own recipe.

In: a rendered validation cell. Out: a JPEG data URL, or a PNG with the generation data and workflow of the cell, freed
of paths. Training pictures are never used: they may not be shown.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from .. import json_text
from ..datasets.pictures import opened
from ..files import open_named
from ..validation.pictures import png_bytes
from .scrub import machine_names, scrub_json, scrub_text

THUMBNAIL_EDGE_PX = 256
THUMBNAIL_MOST_BYTES = 48_000
KEPT_TEXTS = ("parameters", "prompt", "workflow")


def thumbnail_data_url(picture: Image.Image) -> str:
    """`picture` within 256 x 256 as a JPEG data URL of at most 48 kB."""
    small = picture.convert("RGB")
    small.thumbnail((THUMBNAIL_EDGE_PX, THUMBNAIL_EDGE_PX), Image.Resampling.LANCZOS)
    for quality in (88, 75, 60, 40, 20):
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= THUMBNAIL_MOST_BYTES:
            break
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def preview_png(picture: Image.Image) -> bytes:
    """`picture` as a PNG with the texts of `KEPT_TEXTS` that it came with, without this machine's paths and names."""
    names = machine_names()
    texts = {key: text for key in KEPT_TEXTS if isinstance(text := picture.info.get(key), str)}
    return png_bytes(picture, {key: _scrubbed(text, names) for key, text in texts.items()})


def preview_bytes(file: Path) -> bytes:
    """`preview_png` of a picture file."""
    with open_named(file) as stream, opened(stream) as picture:
        return preview_png(picture)


def _scrubbed(text: str, names: frozenset[str]) -> str:
    if text[:1] in ("{", "["):
        try:
            return json_text.write(scrub_json(json_text.read(text), names=names))
        except (ValueError, RecursionError):
            pass  # no JSON after all: it is scrubbed as text below
    return scrub_text(text, names=names)
