"""The wing of model families: one file for each, one list of them, and the ways to look one up.

In: a name, or the tensors of a file. Out: an `Architecture`. A new family is one file here and its name in `_FILES`.
"""

from __future__ import annotations

from importlib import import_module

from ..errors import NotFound
from .base import Architecture, Shapes

_FILES = (
    "sd15",
    "sdxl",
    "zimage",
    "flux2",
    "qwen_image",
    "krea2",
    "anima",
    "flux1",
    "chroma",
    "sd3",
    "lumina2",
    "hunyuan_image",
    "other",
)
"""The files of this folder that hold families, in the order in which they are shown."""

ARCHITECTURES: dict[str, Architecture] = {
    each.name: each for file in _FILES for each in import_module(f".{file}", __package__).FAMILIES
}
"""Every family by its name."""

FIRST = next(iter(ARCHITECTURES.values()))
"""The family that is meant where nobody says which."""

ANY_OTHER = next(each for each in ARCHITECTURES.values() if each.untried)
"""The one that stands for image models without a file of their own."""


def architecture(name: str) -> Architecture:
    """The family of that name. Raises NotFound with the known names."""
    try:
        return ARCHITECTURES[name]
    except KeyError:
        raise NotFound(
            f"There is no model family {name!r}.", f"Known families: {', '.join(ARCHITECTURES)}."
        ) from None


def recognise(shapes: Shapes, file_name: str = "") -> Architecture | None:
    """The family whose marks a diffusion model with these tensors bears, None for none. Where several families have the same
    tensors, the one with a word of its own in `file_name` is meant, else one without such words, else the first."""
    bearing = [each for each in ARCHITECTURES.values() if each.bears(shapes)]
    lower = file_name.lower()
    hinted = (each for each in bearing if any(word in lower for word in each.name_hints))
    plain = (each for each in bearing if not each.name_hints)
    return next(hinted, next(plain, next(iter(bearing), None)))
