"""Number formats: what the frozen model computes in, and what that asks of the device.

In: the plan's `mixed_precision` and a device. Out: a torch dtype, or a `ChildFailure` before anything is spent. LoRA
masters are fp32 always.
"""

from __future__ import annotations

import torch

from ...device.description import CPU, CUDA
from ...device.precision import NO_FP16_ON_A_CPU
from ..child import ChildFailure

DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def compute_dtype(mixed_precision: str, device: torch.device) -> torch.dtype:
    """The format that the frozen weights and the activations have.

    Raises:
        ChildFailure: the device can't train in it.
    """
    if mixed_precision == "fp16" and device.type == CPU:
        raise ChildFailure(
            f"mixed_precision is fp16, and {NO_FP16_ON_A_CPU}.",
            "Set mixed_precision to auto.",
            code="precision",
        )
    if mixed_precision == "bf16" and device.type == CUDA and not torch.cuda.is_bf16_supported():
        raise ChildFailure(
            f"mixed_precision is bf16, which {torch.cuda.get_device_name(device)} can't do.",
            "Set mixed_precision to auto.",
            code="precision",
        )
    return DTYPES[mixed_precision]


def make_repeatable(device: torch.device) -> None:
    """Have the same run give the same bits: flush denormals on the CPU (without that, tiny numbers make steps of random
    test models 30 times slower), deterministic kernels on a GPU (where one has none, a warning in the log says so)."""
    torch.set_flush_denormal(True)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        torch.use_deterministic_algorithms(True, warn_only=True)
