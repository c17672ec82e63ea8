"""Conditions as the host's sampler makes them, for a batch of captions of one length.

In: what was cached of each caption. Out: the keyword arguments of the host's `apply_model`. Pooled vectors, guidance, masks,
padding and sizes are the host's `extra_conds`, called for each item alone, as it is meant; items are then joined as the
sampler joins its batches, and where it would not join them, they have to be answered one by one.

Shapes: B batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch

MASK = "attention_mask"
SIZES = ("height", "width", "crop_h", "crop_w", "target_height", "target_width")
"""The six numbers of SDXL's size conditioning in the host's words."""


def joined_conditions(
    model: Any,
    noisy_BCHW: torch.Tensor,
    condition: Mapping[str, torch.Tensor],
    sizes: Sequence[Sequence[int]],
    more: Mapping[str, Any],
) -> dict[str, Any] | None:
    """Keyword arguments for the whole batch, None where the items can't share a forward pass. `sizes` are six numbers an item."""
    items = [
        item_conditions(
            model, noisy_BCHW[at : at + 1], {k: v[at] for k, v in condition.items()}, sizes[at], more
        )
        for at in range(len(noisy_BCHW))
    ]
    first, others = items[0], items[1:]
    if others and MASK in first:  # not every version takes a mask for several items
        return None
    if any(item.keys() != first.keys() for item in others):
        return None
    if not all(first[name].can_concat(item[name]) for item in others for name in first):
        return None
    return {
        name: each.concat([item[name] for item in others]) if others else each.cond
        for name, each in first.items()
    }


def item_conditions(
    model: Any,
    noisy_1CHW: torch.Tensor,
    condition: Mapping[str, torch.Tensor],
    sizes: Sequence[int],
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """The host's condition objects of one item."""
    said = model.extra_conds(
        noise=noisy_1CHW,
        latent_image=noisy_1CHW,
        device=noisy_1CHW.device,
        prompt_type="positive",
        **{"pooled_output": None, **condition, **dict(zip(SIZES, sizes, strict=True)), **more},
    )
    return {name: _processed(each) for name, each in said.items()}


def _processed(condition: Any) -> Any:
    """For a batch of one and the whole picture."""
    takes_area = "area" in inspect.signature(condition.process_cond).parameters
    return condition.process_cond(batch_size=1, **({"area": None} if takes_area else {}))
