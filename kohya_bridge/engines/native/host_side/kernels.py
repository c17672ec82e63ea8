"""Plain kernels in the place of comfy_kitchen's fused ones while a process trains.

Its rope, norm and modulation kernels are custom operators without a backward. Most models heed `in_training` and leave them alone,
Anima and a branch of ERNIE do not (0.33.0). The package's own plain functions are ordinary torch code with the same numbers.
"""

from __future__ import annotations

import importlib
import importlib.util
import types
from typing import Any


class PlainKernels:
    """The package as the models see it: a plain function where there is one, else what the package has."""

    def __init__(self, package: Any, plain: dict[str, types.FunctionType]):
        self._package, self._plain = package, plain

    def __getattr__(self, name: str) -> Any:
        return self._plain[name] if name in self._plain else getattr(self._package, name)


def use_differentiable_kernels() -> list[str]:
    """Swap what can be swapped; returns the names. Nothing where this ComfyUI has no such package."""
    quant_ops = (
        importlib.import_module("comfy.quant_ops") if importlib.util.find_spec("comfy.quant_ops") else None
    )
    package = getattr(quant_ops, "ck", None)
    if package is None or isinstance(package, PlainKernels):
        return []
    plain: dict[str, types.FunctionType] = {}
    for name in ("rope", "adaln"):
        module = importlib.import_module(f"comfy_kitchen.backends.eager.{name}")
        for each in dir(package):
            found = getattr(module, each, None)
            if isinstance(found, types.FunctionType) and not each.startswith("_") and not each.endswith("_"):
                plain[each] = found
    quant_ops.ck = PlainKernels(package, plain)  # type: ignore[union-attr]
    return sorted(plain)
