"""Which of ComfyUI's quantised formats a model file has, and whether a ComfyUI can read them: a version that can't loads noise.

In: a file, ComfyUI's folder. Out: names such as `nvfp4`. The header and the notes beside the layers are read, and ComfyUI's source as text.
A layer's note is a tensor `<layer>.comfy_quant` of JSON; former files have one note for all in their metadata (`_quantization_metadata`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import json_text
from ..errors import BridgeError
from .safetensors_header import SafetensorsHeader, read_header, read_tensor

NOTE, FORMER_NOTE = ".comfy_quant", "_quantization_metadata"
_MOST_BYTES = 4096  # of a note: some have a hundred


def unread_formats(file: Path, comfyui_dir: Path) -> list[str]:
    """The formats in `file` that the ComfyUI in `comfyui_dir` does not read; none for a folder, or what is no model file."""
    try:
        header = read_header(file)
    except BridgeError:
        return []
    beside_layers = set(_beside_layers(header))
    readers = _source(comfyui_dir, "ops.py"), _source(comfyui_dir, "quant_ops.py")
    reads_notes = None in readers or NOTE.removeprefix(".") in (readers[0] or "")
    unread = {each for each in beside_layers if not reads_notes}
    named = beside_layers | set(_in_metadata(header))
    unread |= {each for each in named if readers[1] is not None and f'"{each}"' not in readers[1]}
    return sorted(unread)


def _beside_layers(header: SafetensorsHeader) -> Iterator[str]:
    for name, info in header.tensors.items():
        if name.endswith(NOTE) and info.end - info.begin <= _MOST_BYTES:
            yield from _format_of(read_tensor(header, name))


def _in_metadata(header: SafetensorsHeader) -> Iterator[str]:
    try:
        layers = json_text.read(header.metadata.get(FORMER_NOTE, "{}"))["layers"]
        yield from (str(each["format"]) for each in layers.values())
    except (ValueError, LookupError, TypeError, AttributeError):
        return


def _format_of(note: bytes) -> Iterator[str]:
    try:
        told: Any = json_text.read(note.decode("utf-8"))
        yield str(told["format"])
    except (ValueError, LookupError, TypeError):
        return


def _source(comfyui_dir: Path, name: str) -> str | None:
    file = comfyui_dir / "comfy" / name
    return file.read_text("utf-8", "replace") if file.is_file() else None
