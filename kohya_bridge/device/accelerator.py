"""The device, for a process that has torch: which one it is, and what differs between kinds.

In: torch, given by the caller, so that this module loads without it. Out: an `Accelerator`. Every call exists for CUDA, ROCm, XPU,
MPS and the CPU; where a kind has no such thing it does nothing, or says None. MPS and XPU were proven on doubles only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .description import CPU, CUDA, MPS, ROCM, XPU, Device
from .processor import instruction_sets, processor_name

_GIB = 2**30


@dataclass(frozen=True)
class Accelerator:
    """torch and the kind of device that it computes on here."""

    torch: Any
    kind: str

    @classmethod
    def find(cls, torch: Any) -> Accelerator:
        """The device that torch prefers on this machine, in sd-scripts' order: CUDA or ROCm, XPU, MPS, CPU."""
        if torch.cuda.is_available():
            return cls(torch, ROCM if getattr(torch.version, "hip", None) else CUDA)
        if hasattr(torch, "xpu") and torch.xpu.is_available():
            return cls(torch, XPU)
        if hasattr(torch.backends, "mps") and torch.backends.mps.is_available():
            return cls(torch, MPS)
        return cls(torch, CPU)

    @property
    def type(self) -> str:
        """What torch calls it: ROCm answers to `cuda`."""
        return CUDA if self.kind == ROCM else self.kind

    @property
    def _backend(self) -> Any:
        """`torch.cuda`, `torch.xpu`, `torch.mps`."""
        return getattr(self.torch, self.type)

    def synchronise(self) -> None:
        """Wait until everything that was asked for is computed."""
        if self.kind != CPU:
            self._backend.synchronize()

    def describe(self) -> Device:
        """What is known of it, unmeasured."""
        if self.kind == CPU:
            sets = instruction_sets()
            return Device(CPU, processor_name(), None if sets is None else " ".join(sorted(sets)))
        if self.kind == MPS:
            return Device(MPS, self._mps_name(), self._macos())
        properties = self._backend.get_device_properties(self._backend.current_device())
        memory_gib = round(properties.total_memory / _GIB, 1)
        arch: str | None
        if self.kind == CUDA:
            arch = f"{properties.major}.{properties.minor}"
        elif self.kind == ROCM:
            arch = str(getattr(properties, "gcnArchName", "")).split(":")[0] or None
        else:
            has_xmx = getattr(properties, "has_subgroup_matrix_multiply_accumulate", None)
            arch = None if has_xmx is None else "xmx" if has_xmx else "xe"
        return Device(self.kind, str(properties.name), arch, memory_gib)

    def _mps_name(self) -> str:
        get_name = getattr(self.torch.backends.mps, "get_name", None)
        return str(get_name()) if get_name else "Apple GPU"

    def _macos(self) -> str | None:
        is_newer = getattr(self.torch.backends.mps, "is_macos_or_newer", None)
        return None if is_newer is None else "macos14" if is_newer(14, 0) else "macos<14"
