"""Frozen layers of any number format with a backward of their own, which keeps nothing of the weight.

In: a Linear of the host's. Out: the same, computing forward as the host does; for the backward the weight is fetched and
dequantised again. Plain autograd keeps a cast copy of every frozen weight until the backward, so that a base in fp8 would save
nothing, and two of the host's formats have no backward at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Compute = Callable[..., torch.Tensor]


class FrozenLinear(torch.autograd.Function):
    """`forward(x)` with the gradient `grad @ weight`."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: Any, compute: Compute) -> torch.Tensor:
        ctx.layer = layer
        with torch.no_grad():
            answer: torch.Tensor = compute(x.detach())
        return answer

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return grad @ plain_weight(ctx.layer, grad), None, None


def plain_weight(layer: Any, like: torch.Tensor) -> torch.Tensor:
    """The layer's weight as plain numbers, on the device and in the format of `like`."""
    weight: torch.Tensor = layer.weight
    if hasattr(weight, "dequantize"):
        weight = weight.dequantize()
    weight = weight.to(like.device, like.dtype)
    scale = getattr(layer, "scale_weight", None)  # scaled fp8 of older versions
    return weight if scale is None else weight * scale.to(like.device, like.dtype)


def frozen(layer: Any) -> Compute:
    """What computes the layer's answer from now on."""
    compute = layer.forward

    def answer(x: torch.Tensor, *more: Any, **named: Any) -> torch.Tensor:
        if more or named or not (torch.is_grad_enabled() and x.requires_grad):
            found: torch.Tensor = compute(x, *more, **named)
            return found
        answered: torch.Tensor = FrozenLinear.apply(x, layer, compute)  # type: ignore[no-untyped-call]
        return answered

    return answer
