"""Device: what is known of the device that trains, as plain values. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

CUDA, ROCM, XPU, MPS, CPU = "cuda", "rocm", "xpu", "mps", "cpu"
KINDS = (CUDA, ROCM, XPU, MPS, CPU)
"""NVIDIA, AMD, Intel and Apple graphics, and the processor: in the order in which torch and sd-scripts prefer them."""


@dataclass(frozen=True)
class Device:
    """One device. Two processes that see the same one describe it alike."""

    kind: str
    """One of `KINDS`."""
    name: str = ""
    arch: str | None = ""
    """What its arithmetic is known by: a compute capability (`8.6`), a gfx name (`gfx1100`), the instruction sets of a
    processor (`avx2 avx512_bf16`). None where nobody can tell."""
    memory_gib: float | None = None
    """All of its own memory; None where it shares the computer's."""
    slower: Mapping[str, float] = field(default_factory=dict)
    """Measured: how many times as long as fp32 each format takes; infinite where torch refuses it. Empty: not measured."""

    @property
    def is_gpu(self) -> bool:
        return self.kind != CPU

    def to_json(self) -> dict[str, Any]:
        slower = {name: None if math.isinf(times) else times for name, times in self.slower.items()}
        return {**asdict(self), "slower": slower}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Device:
        """Raises KeyError, TypeError, ValueError: that is no device."""
        if told["kind"] not in KINDS:
            raise ValueError(f"unknown kind of device {told['kind']!r}")
        slower = {name: math.inf if times is None else float(times) for name, times in told["slower"].items()}
        return cls(**{**told, "slower": slower})
