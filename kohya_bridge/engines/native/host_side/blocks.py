"""The blocks of a diffusion model of the host's: found without a list of families, cured of in-place sums, and checkpointed.

FLUX-like blocks add in place into tensors that a norm has saved for its backward. Plain autograd raises then, and recomputing
(gradient checkpointing) gives a wrong gradient without a word: up to 102 % off. Norms that keep a copy of what they normalise,
and blocks that write to a copy of what they are given, cure it; checkpointed equals plain then, bit for bit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

NORMS = ("LayerNorm", "RMSNorm", "GroupNorm")


def blocks(model: torch.nn.Module) -> list[Any]:
    """The modules of every list at the top of the model: each has a forward of its own and more than one layer."""
    lists = [each for each in model.children() if isinstance(each, torch.nn.ModuleList)]
    return [block for each in lists for block in each if any(True for _ in block.children())]


def copy_before_writing(model: torch.nn.Module) -> None:
    """Have no block write into what another part of the graph needs again."""
    for module in model.modules():
        if type(module).__name__ in NORMS:
            module.register_forward_pre_hook(lambda _, given: tuple(map(_copied, given)))
    for block in blocks(model):
        block.forward = _writing_to_copies(block.forward)


def checkpoint_blocks(model: torch.nn.Module) -> int:
    """Recompute each block in the backward pass; returns how many there are. After `copy_before_writing`."""
    found = blocks(model)
    for block in found:
        block.forward = _recomputed(block.forward)
    return len(found)


def _copied(value: Any) -> Any:
    return value.clone() if torch.is_tensor(value) and value.requires_grad else value


def _writing_to_copies(compute: Any) -> Any:
    def answer(*given: Any, **named: Any) -> Any:
        return compute(*map(_copied, given), **{name: _copied(value) for name, value in named.items()})

    return answer


def _recomputed(compute: Any) -> Any:
    def answer(*given: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return compute(*given, **named)
        return checkpoint(compute, *given, use_reentrant=False, **named)

    return answer
