"""Every picture is opened through one door: by named formats, bounded before it is decoded, closed afterwards."""

import ast
import os
import struct
import zlib

import pytest
from PIL import EpsImagePlugin, Image, ImageFile

from kohya_bridge.datasets import pictures
from kohya_bridge.datasets.picture_colours import as_seen
from kohya_bridge.datasets.pictures import (
    DECODER_FAILURES,
    as_trained,
    file_pixel_digest,
    inspect_picture,
)
from kohya_bridge.errors import BridgeError
from kohya_bridge.files import Tree
from kohya_bridge.package.pictures import preview_bytes
from kohya_bridge.runs.run_pictures import thumbnail
from kohya_bridge.validation.pictures import open_picture
from kohya_bridge.workspace import PACK_ROOT, Workspace

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\nshowpage\n%%EOF\n"
READERS = {
    "as_trained": as_trained,
    "file_pixel_digest": file_pixel_digest,
    "as_seen": as_seen,
    "open_picture": lambda file: open_picture(Tree(file.parent), file.name),
    "preview_bytes": preview_bytes,
    "thumbnail": lambda file: thumbnail(Workspace.at(file.parent / "training"), file, size=96),
}


def bomb(width, height):
    """A PNG of a few bytes that says it has so many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def opening_calls():
    for room in ("kohya_bridge", "nodes"):
        for file in sorted((PACK_ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Image.open"):
                    yield file.relative_to(PACK_ROOT).as_posix(), [each.arg for each in node.keywords]


def test_pillow_is_asked_in_one_module_and_told_the_formats():
    calls = list(opening_calls())
    assert calls and set(dict(calls)) == {"kohya_bridge/datasets/pictures.py"}
    assert all(names == ["formats"] for _, names in calls)


@pytest.mark.parametrize("name", READERS)
def test_postscript_under_a_pictures_name_starts_no_program(tmp_path, monkeypatch, name):
    asked = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *arguments, **named: asked.append(arguments))
    file = tmp_path / "x.png"
    file.write_bytes(POSTSCRIPT)
    with Image.open(file) as found:  # Pillow by itself takes it
        assert found.format == "EPS"
    with pytest.raises((*DECODER_FAILURES, BridgeError)):
        READERS[name](file)
    assert asked == [] and inspect_picture(file).reason == "unreadable"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(11_000, 11_000), (60_000, 60_000), (2_000_000_000, 1)], ids=str)
@pytest.mark.parametrize("name", READERS)
def test_too_many_pixels_are_refused_before_any_is_decoded(tmp_path, monkeypatch, name, size):
    def decode(self):
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    file = tmp_path / "x.png"
    file.write_bytes(bomb(*size))
    with pytest.raises((*DECODER_FAILURES, BridgeError)) as caught:
        READERS[name](file)
    assert not isinstance(caught.value, AssertionError)
    assert size[0] * size[1] > pictures.MAX_PIXELS and inspect_picture(file).reason in ("bomb", "unreadable")


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="handles are counted in /proc")
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"])
def test_no_picture_that_was_looked_at_keeps_its_file_open(tmp_path, format):
    file = tmp_path / f"x.{format.lower()}"
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    more = {"save_all": True, "append_images": frames[1:]} if format in ("GIF", "TIFF", "WEBP") else {}
    frames[0].save(file, format, **more)
    before = len(os.listdir("/proc/self/fd"))
    kept = [as_seen(file) for _ in range(40)] + [read(file) for read in READERS.values()]
    assert len(os.listdir("/proc/self/fd")) == before and kept
