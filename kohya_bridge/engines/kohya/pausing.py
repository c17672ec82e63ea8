"""Pausing off the GPU: the memory goes back to the card while a run waits, and comes back unchanged.

In: modules and the optimizer. Out: their tensors in main memory, then each on the device it came from. Tensors are moved
in place (`.data`), so every reference that upstream holds stays valid. Paged 8-bit optimiser states live in managed
memory of their own and are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any


class OffDevice:
    """Moves tensors off their accelerator and back. Does nothing on a CPU."""

    def __init__(self, modules: Iterable[Any], optimizer: Any):
        self._modules = [each for each in modules if each is not None]
        self._optimizer = optimizer
        self._homes: list[tuple[Any, Any]] = []

    def release(self) -> None:
        seen: set[int] = set()
        for tensor in self._tensors():
            if id(tensor) in seen or tensor.device.type == "cpu" or getattr(tensor, "is_paged", False):
                continue
            seen.add(id(tensor))
            self._homes.append((tensor, tensor.device))
            tensor.data = tensor.data.to("cpu")
        if self._homes:
            _empty_cache()

    def restore(self) -> None:
        for tensor, device in self._homes:
            tensor.data = tensor.data.to(device)
        self._homes = []

    def _tensors(self) -> Iterator[Any]:
        import torch

        for module in self._modules:
            for each in module if isinstance(module, (list, tuple)) else (module,):
                yield from each.parameters()
                yield from each.buffers()
        inner = getattr(self._optimizer, "optimizer", self._optimizer)
        for values in inner.state.values():
            yield from (each for each in values.values() if isinstance(each, torch.Tensor))


def _empty_cache() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
