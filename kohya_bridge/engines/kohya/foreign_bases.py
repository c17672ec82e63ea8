"""Base models of the families that only sd-scripts trains: told apart by their tensors' names.

In: a .safetensors file. Out: the family whose marks it bears, or None. The header alone is read. Names as in sd-scripts'
loaders (library/{flux,chroma,sd3,lumina,hunyuan_image,anima}_*.py), with or without ComfyUI's `model.diffusion_model.`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...safetensors_header import read_header

# Looked through in order: HunyuanImage and Chroma have FLUX's blocks too.
MARKS: dict[str, tuple[str, ...]] = {
    "hunyuan_image": ("byt5_in.", "double_blocks.0."),
    "chroma": ("distilled_guidance_layer.", "double_blocks.0."),
    "flux1": ("double_blocks.0.", "single_blocks.0."),
    "sd3": ("joint_blocks.0.",),
    "lumina2": ("cap_embedder.", "layers.0."),
    "anima": ("llm_adapter.", "blocks.0."),
}
PREFIXES = ("model.diffusion_model.", "net.", "")


def foreign_family(file: Path) -> str | None:
    """The family of a base model that the native engine does not know. Raises what `read_header` raises."""
    names = read_header(file).tensors
    return next((family for family, marks in MARKS.items() if _bears(names, marks)), None)


def _bears(names: Iterable[str], marks: tuple[str, ...]) -> bool:
    bare = [next(name.removeprefix(each) for each in PREFIXES if name.startswith(each)) for name in names]
    return all(any(name.startswith(mark) for name in bare) for mark in marks)
