"""Base models of the families that only sd-scripts trains: told apart by their tensors' names.

In: a .safetensors file. Out: the family whose marks it bears, or None. The header alone is read. Names as in sd-scripts'
loaders (library/{flux,chroma,sd3,lumina,hunyuan_image,anima}_*.py), with or without ComfyUI's `model.diffusion_model.`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from .safetensors_header import read_header

# Looked through in order: HunyuanImage and Chroma have FLUX's blocks too.
MARKS: dict[str, tuple[str, ...]] = {
    "hunyuan_image": ("byt5_in.", "double_blocks.0."),
    "chroma": ("distilled_guidance_layer.", "double_blocks.0."),
    "flux1": ("double_blocks.0.", "single_blocks.0."),
    "sd3": ("joint_blocks.0.",),
    "lumina2": ("cap_embedder.", "layers.0."),
    "anima": ("llm_adapter.", "blocks.0."),
}
# Relatives that bear the same marks and that sd-scripts does not train: FLUX.2, HunyuanVideo 1.5, Z-Image.
UNLIKE: dict[str, tuple[str, ...]] = {
    "flux1": ("double_stream_modulation_img.",),
    "hunyuan_image": ("vision_in.",),
    "lumina2": ("cap_pad_token",),
}
PREFIXES = ("model.diffusion_model.", "net.", "")


def foreign_family(file: Path) -> str | None:
    """The family of a base model that the native engine does not know. Raises what `read_header` raises."""
    bare = [
        next(name.removeprefix(each) for each in PREFIXES if name.startswith(each))
        for name in read_header(file).tensors
    ]
    for family, marks in MARKS.items():
        if all(_bears(bare, mark) for mark in marks):
            return None if any(_bears(bare, mark) for mark in UNLIKE.get(family, ())) else family
    return None


def _bears(names: Iterable[str], mark: str) -> bool:
    return any(name.startswith(mark) for name in names)
