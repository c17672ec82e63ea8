"""The device, for a process that has torch: which one it is, and what differs between kinds.

In: torch, given by the caller, so that this module loads without it. Out: an `Accelerator`. Every call exists for CUDA, ROCm, XPU,
MPS and the CPU; where a kind has no such thing it does nothing, or says None. MPS and XPU were proven on doubles only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .description import CPU, CUDA, MPS, ROCM, XPU, Device
from .precision import BF16, settled
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

    @classmethod
    def of(cls, torch: Any, device: Any) -> Accelerator:
        """The accelerator of a `torch.device`."""
        if device.type == CUDA and getattr(torch.version, "hip", None):
            return cls(torch, ROCM)
        return cls(torch, device.type)

    @property
    def is_gpu(self) -> bool:
        return self.kind != CPU

    @property
    def _backend(self) -> Any:
        """`torch.cuda`, `torch.xpu`, `torch.mps`."""
        return getattr(self.torch, self.type)

    # --- time ------------------------------------------------------------------------------------------------------

    def synchronise(self) -> None:
        """Wait until everything that was asked for is computed."""
        if self.is_gpu:
            self._backend.synchronize()

    def event(self) -> Any | None:
        """Something to `record` behind work and to `query` later, None where numbers are there when they are asked for."""
        return self._backend.Event() if self.can_pin else None

    @property
    def can_pin(self) -> bool:
        """Whether copies from pinned main memory run beside the work. On a Mac both memories are one."""
        return self.kind in (CUDA, ROCM, XPU)

    def make_repeatable(self) -> None:
        """Have the same run give the same bits: flush denormals on the CPU (without that, tiny numbers make steps of random test
        models 30 times slower), deterministic kernels on a GPU (where one has none, a warning in the log says so)."""
        self.torch.set_flush_denormal(True)
        if self.type == CUDA:
            self.torch.backends.cudnn.benchmark = False
            self.torch.backends.cudnn.deterministic = True
        if self.is_gpu:
            self.torch.use_deterministic_algorithms(True, warn_only=True)

    def random_states(self) -> list[Any]:
        """The states of the cards' own generators, in torch's order; none on a CPU."""
        if self.kind == MPS:
            return [self._backend.get_rng_state()]
        return list(self._backend.get_rng_state_all()) if self.is_gpu else []

    def restore_random_states(self, states: list[Any]) -> None:
        """Put back what `random_states` told, as far as there are cards for it."""
        if self.kind == MPS:
            for each in states[:1]:
                self._backend.set_rng_state(each)
        elif self.is_gpu:
            self._backend.set_rng_state_all(states[: self._backend.device_count()])

    # --- memory ----------------------------------------------------------------------------------------------------

    def empty_cache(self) -> None:
        """Give memory that nothing uses back to the card."""
        if self.is_gpu:
            self._backend.empty_cache()

    def reserved_gib(self) -> float | None:
        """What torch holds of the card's memory now, None on a CPU."""
        if not self.is_gpu:
            return None
        held = (
            self._backend.driver_allocated_memory() if self.kind == MPS else self._backend.memory_reserved()
        )
        return round(float(held) / _GIB, 3)

    def peak_gib(self) -> float | None:
        """The most that torch has held of the card's memory; a Mac tells only what it holds now."""
        if not self.is_gpu or self.kind == MPS:
            return self.reserved_gib()
        return round(float(self._backend.max_memory_reserved()) / _GIB, 3)

    def free_gib(self) -> float | None:
        """What the card has left for everybody, None on a CPU and where it is not told."""
        if self.kind == MPS:
            free = self._backend.recommended_max_memory() - self._backend.driver_allocated_memory()
            return round(float(max(0, free)) / _GIB, 1)
        if not self.is_gpu or not hasattr(self._backend, "mem_get_info"):
            return None
        return round(float(self._backend.mem_get_info()[0]) / _GIB, 1)

    def ran_out(self, error: BaseException) -> bool:
        """Whether `error` says that the device's memory ran out. MPS has no type of its own for that."""
        kind = getattr(self.torch, "OutOfMemoryError", None)
        return (kind is not None and isinstance(error, kind)) or "out of memory" in str(error).lower()

    # --- what it is ------------------------------------------------------------------------------------------------

    def refuses(self, name: str) -> str:
        """Why this device can't train in a number format, as a sentence without its stop; empty where it can."""
        if name == BF16 and self.kind == CUDA and not self.torch.cuda.is_bf16_supported():
            return f"{self.torch.cuda.get_device_name()} can't do it"
        return settled(self.describe()).impossible.get(name, "")

    def built_for(self) -> list[str]:
        """Architectures of graphics cards that this torch has code for; empty for those that need no such list."""
        return list(self.torch.cuda.get_arch_list()) if self.type == CUDA else []

    def describe_all(self) -> list[Device]:
        """Every card that torch sees, or the CPU."""
        if self.kind in (CPU, MPS):
            return [self.describe()]
        return [self.describe(index) for index in range(self._backend.device_count())]

    def describe(self, index: int | None = None) -> Device:
        """What is known of the current card, or of that one, unmeasured."""
        if self.kind == CPU:
            sets = instruction_sets()
            return Device(CPU, processor_name(), None if sets is None else " ".join(sorted(sets)))
        if self.kind == MPS:
            return Device(MPS, self._mps_name(), self._macos())
        chosen = self._backend.current_device() if index is None else index
        properties = self._backend.get_device_properties(chosen)
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
