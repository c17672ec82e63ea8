"""Number formats: what the frozen model computes in.

In: the plan's `mixed_precision` and a device. Out: a torch dtype, or a `ChildFailure` before anything is spent. LoRA
masters are fp32 always.
"""

from __future__ import annotations

import torch

from ...device.accelerator import Accelerator
from ..child import ChildFailure

DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def compute_dtype(mixed_precision: str, device: torch.device) -> torch.dtype:
    """The format that the frozen weights and the activations have.

    Raises:
        ChildFailure: the device can't train in it.
    """
    why = Accelerator.of(torch, device).refuses(mixed_precision)
    if why:
        problem = f"mixed_precision is {mixed_precision}, and {why}."
        raise ChildFailure(problem, "Set mixed_precision to auto.", code="precision")
    return DTYPES[mixed_precision]
