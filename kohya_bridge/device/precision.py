"""Number formats by device: what `mixed_precision: auto` means, what another choice costs, what can't be had.

In: a `Device`. Out: a `Verdict`. Where the architecture is known, a table answers, each row with its source; else the times that
a probe measured. Pure: nothing is looked up or started here. Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .description import CPU, CUDA, MPS, ROCM, XPU, Device

AUTO = "auto"
NO, BF16, FP16 = "no", "bf16", "fp16"
WORTH_IT = 1.25
"""A half format is taken although it is this much slower than fp32: it needs half the memory."""
NO_FP16_ON_A_CPU = "a CPU has no fp16 training"


@dataclass(frozen=True)
class Verdict:
    """What the formats are worth on one device."""

    best: str
    """`bf16`, `fp16` or `no`."""
    why: str
    """The rest of a sentence that begins with the format, without its stop."""
    slower: Mapping[str, float | None] = field(default_factory=dict)
    """Formats that cost time: how many times that of fp32, None where only a measurement can tell."""
    impossible: Mapping[str, str] = field(default_factory=dict)
    """Formats that can't be had, and why: a sentence without its stop."""


@dataclass(frozen=True)
class Precision:
    """A format with the reason for it, such as `no` and `no: this CPU has no bf16 arithmetic; ...`."""

    name: str
    reason: str


def verdict(device: Device) -> Verdict | None:
    """What is known of the formats on this device, None where they must be measured first."""
    known = _TABLES[device.kind](device)
    if known is None and device.slower:
        known = _measured(device)
    return known


def usual(device: Device) -> Precision:
    """What `auto` means on this device."""
    known = settled(device)
    return Precision(known.best, f"{known.best}: {known.why}")


def settled(device: Device) -> Verdict:
    """The verdict; for a device that nobody knows and nobody could measure, fp32, which all can do."""
    refused = {FP16: NO_FP16_ON_A_CPU} if device.kind == CPU else {}
    unknown = Verdict(NO, "nothing is known of this device's formats; every device can do fp32", {}, refused)
    return verdict(device) or unknown


def times(factor: float) -> str:
    """`about 40 times slower`, `about 1.6 times slower`."""
    return f"about {factor:.0f} times slower" if factor >= 3 else f"about {factor:.1f} times slower"


def _cpu(device: Device) -> Verdict | None:
    """oneDNN, with which torch multiplies and convolves on x86, computes bf16 with AVX512-BF16 and AMX, emulates it on AVX-512
    (1.7 to 3 times slower than fp32) and leaves it to plain loops below (28 to 120 times slower): docs/measurements.md.
    Arm's bf16 is used by torch's Arm builds where the kernel reports it (torch/csrc, mkldnn_bf16_device_check_arm)."""
    if device.arch is None:
        return None
    have, refused = set(device.arch.split()), {FP16: NO_FP16_ON_A_CPU}
    arithmetic = sorted(have & {"avx512_bf16", "amx_bf16", "bf16"})
    if arithmetic:
        return Verdict(BF16, f"this CPU has bf16 arithmetic ({', '.join(arithmetic)})", {}, refused)
    if "avx_ne_convert" in have or not have & {"avx2", "avx512f"}:
        return None  # converts in hardware, or is no x86 that was measured
    factor = 2.0 if "avx512f" in have else 40.0
    return Verdict(
        NO, f"this CPU has no bf16 arithmetic; bf16 would be {times(factor)}", {BF16: factor}, refused
    )


def _cuda(device: Device) -> Verdict | None:
    """NVIDIA, CUDA C++ Programming Guide, table "Throughput of Native Arithmetic Instructions", by compute capability: bf16 from
    8.0 on; fp16 at twice the rate of fp32 at 6.0 and 7.x (there on tensor cores), at 1/64 of it at 6.1, where cuBLAS and
    cuDNN keep fp16 numbers and calculate in fp32. GeForce GTX 16 have 7.5 without tensor cores and give NaN in fp16 (ComfyUI
    and stable-diffusion-webui switch it off for them)."""
    if not device.arch:
        return None
    capability = tuple(int(part) for part in device.arch.split("."))
    shown = f"compute capability {device.arch}"
    if capability >= (8, 0):
        return Verdict(BF16, f"{shown} has bf16 arithmetic")
    emulated = {BF16: None}
    if capability >= (7, 0) and _is_turing_without_tensor_cores(device.name):
        return Verdict(
            NO, f"{device.name} has no bf16 arithmetic, and is known to give NaN in fp16", emulated
        )
    if capability >= (7, 0):
        return Verdict(FP16, f"{shown} has fp16 tensor cores and no bf16 arithmetic", emulated)
    if capability >= (6, 0):
        return Verdict(
            FP16, f"{shown} has no bf16 arithmetic, and fp16 needs half the memory of fp32", emulated
        )
    return Verdict(NO, f"{shown} has neither bf16 nor fp16 arithmetic", emulated)


def _is_turing_without_tensor_cores(name: str) -> bool:
    words = name.upper().replace("-", " ").split()
    return any(word in _TURING_WITHOUT or (word.startswith("16") and word[:4].isdigit()) for word in words)


_TURING_WITHOUT = {"MX450", "MX550", "T400", "T500", "T550", "T600", "T1000", "T1200", "T2000"}


def _rocm(device: Device) -> Verdict | None:
    """AMD, ROCm documentation, "Data types and precision support": bf16 by matrix cores in CDNA (gfx908, gfx90a, gfx94x, gfx95x)
    and by WMMA from RDNA 3 on (gfx11, gfx12); RDNA 1 and 2 (gfx10) and Vega (gfx90x) pack two fp16 and emulate bf16."""
    arch = (device.arch or "").split(":")[0]
    if arch in ("gfx908", "gfx90a") or arch.startswith(("gfx94", "gfx95", "gfx11", "gfx12")):
        return Verdict(BF16, f"{arch} has bf16 arithmetic")
    if arch in ("gfx900", "gfx906") or arch.startswith("gfx10"):
        return Verdict(FP16, f"{arch} has fp16 and no bf16 arithmetic", {BF16: None})
    return None


def _xpu(device: Device) -> Verdict | None:
    """Intel: matrix engines (XMX: Arc A and B, Data Center GPU Max and Flex) compute bf16; others are measured."""
    if device.arch is not None and "xmx" in device.arch.split():
        return Verdict(BF16, "this GPU has matrix engines for bf16")
    return None


def _mps(device: Device) -> Verdict | None:
    """torch refuses bf16 on macOS before 14 ("MPS BFloat16 is only supported on macOS 14 or newer"); later ones are measured:
    M1 emulates what M2 computes."""
    if device.arch == "macos<14":
        return Verdict(
            NO, "bf16 needs macOS 14 or newer", {}, {BF16: "torch computes bf16 on macOS 14 and newer only"}
        )
    return None


_TABLES: dict[str, Callable[[Device], Verdict | None]] = {
    CPU: _cpu,
    CUDA: _cuda,
    ROCM: _rocm,
    XPU: _xpu,
    MPS: _mps,
}


def _measured(device: Device) -> Verdict:
    """By the clock: bf16 unless it costs time, then fp16 on graphics cards, then fp32."""
    refused = {
        name: f"torch refuses {name} on this device"
        for name, factor in device.slower.items()
        if math.isinf(factor)
    }
    if device.kind == CPU:
        refused[FP16] = NO_FP16_ON_A_CPU
    cost: dict[str, float | None] = {
        name: factor for name, factor in device.slower.items() if factor > WORTH_IT and name not in refused
    }
    what = "this CPU" if device.kind == CPU else "this GPU"
    for name in (BF16, FP16):
        factor = device.slower.get(name, math.inf)
        if name not in refused and factor <= WORTH_IT:
            return Verdict(name, f"measured on {what}, it takes {factor:.2f} of fp32's time", cost, refused)
    lost = [f"{name} would be {times(factor)}" for name, factor in cost.items() if factor] or [
        "there is no half format"
    ]
    return Verdict(NO, f"measured on {what}, {' and '.join(lost)}", cost, refused)
