"""The golden headers: tensor names and shapes of real models, blocks beyond the second left out.

Written once from ComfyUI's own classes at their real sizes, without weights; `*_diffusers` are the names that diffusers gives.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from kohya_bridge.architectures import ARCHITECTURES
from kohya_bridge.models.base_models import UNET_PREFIX
from kohya_bridge.workspace import PACK_ROOT
from scripts.base_layouts import SD15_UNET, SDXL_UNET, unet_shapes

Shapes = dict[str, tuple[int, ...]]
FILE = PACK_ROOT / "tests" / "fixtures" / "headers.json"


def _u_net(shape) -> Shapes:
    return {name.removeprefix(UNET_PREFIX): size for name, size in unet_shapes(shape).items()}


_READ = json.loads(FILE.read_text("utf-8"))
_TENSORS: dict[str, Shapes] = {
    name: {tensor: tuple(size) for tensor, size in each["tensors"].items()} for name, each in _READ.items()
} | {"sd15": _u_net(SD15_UNET), "sdxl": _u_net(SDXL_UNET)}

FAMILIES: list[tuple[str, str, Shapes]] = [
    (family, file, _TENSORS[header])
    for header, each in _READ.items()
    for file, family in each.get("files", {}).items()
] + [("sd15", "v1-5-pruned-emaonly", _TENSORS["sd15"]), ("sdxl", "sd_xl_base_1.0", _TENSORS["sdxl"])]
"""`(family, file name, tensors)` of every family that has marks."""

RELATIVES: list[tuple[str, Shapes]] = [
    (each["relative"], _TENSORS[header]) for header, each in _READ.items() if "relative" in each
]


def tensors_of(family: str) -> Shapes:
    """The first golden header of a family."""
    return next(tensors for name, _, tensors in FAMILIES if name == family)


def write(file: Path, tensors: Shapes, *, dtype: str = "BF16", width: int = 2) -> Path:
    """A safetensors file with these tensors and no weights: a hole where the file system allows one."""
    entries, end = {}, 0
    for name, size in tensors.items():
        begin, end = end, end + math.prod(size) * width
        entries[name] = {"dtype": dtype, "shape": list(size), "data_offsets": [begin, end]}
    text = json.dumps(entries).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(8 + len(text) + end)
    return file


def shrunk(family: str) -> Shapes:
    """The same names, with shapes only where a mark asks for one: small enough to be digested in a test."""
    architecture = ARCHITECTURES[family]
    wanted = {name for marks in architecture.marks for name in marks.sized}
    return {
        name: tuple(size) if name in wanted else tuple(1 for _ in size)
        for name, size in tensors_of(family).items()
    }
