"""Off the device and back: the memory goes to whoever needs the card while a run holds still, and comes back unchanged.

In: modules, an optimizer. Out: their tensors in main memory, then each on the device it came from. Tensors are moved in
place (`.data`), so every reference that anybody holds stays valid; views of one buffer are not known as such and need their
owner. Paged 8-bit optimiser states live in managed memory of their own and are left alone. For every engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..device.accelerator import Accelerator


class OffDevice:
    """Moves tensors off their accelerator and back. Does nothing for those that are in main memory anyway."""

    def __init__(
        self,
        modules: Iterable[Any],
        optimizer: Any,
        *,
        is_away: Callable[[Any], bool] | None = None,
    ):
        """`is_away` says which tensors have to move; by default those that are not in main memory."""
        self._modules = [each for each in modules if each is not None]
        self._optimizer = optimizer
        self._is_away = is_away or (lambda tensor: tensor.device.type != "cpu")
        self._homes: list[tuple[Any, Any]] = []

    def release(self) -> None:
        seen: set[int] = set()
        for tensor in self._tensors():
            if id(tensor) in seen or not self._is_away(tensor) or getattr(tensor, "is_paged", False):
                continue
            seen.add(id(tensor))
            self._homes.append((tensor, tensor.device))
            tensor.data = tensor.data.to("cpu", copy=True)
        if self._homes:
            _empty_cache()

    def restore(self) -> None:
        """Raises torch's OutOfMemoryError where there is no room; it can then be called again."""
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
        for values in inner.state.values() if inner is not None else ():
            yield from (each for each in values.values() if isinstance(each, torch.Tensor))


def _empty_cache() -> None:
    import torch

    Accelerator.find(torch).empty_cache()
