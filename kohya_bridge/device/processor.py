"""The processor: its name and the instruction sets that decide how fast a number format is.

In: /proc/cpuinfo, and the environment variables by which people take instruction sets away from torch. Out: names. On
systems without that file nothing is known, and a probe has to measure. Standard library only.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
DECISIVE = ("avx2", "avx512f", "avx_ne_convert", "avx512_bf16", "amx_bf16", "asimd", "bf16")
"""The flags of Linux that matter here; `asimd` and `bf16` are Arm's."""

# oneDNN's dispatcher (oneDNN documentation, "CPU Dispatcher Control"): each level takes away what stands here.
_NO_AMX = ("amx_bf16",)
_NO_BF16 = (*_NO_AMX, "avx512_bf16", "avx_ne_convert")
_NO_AVX512 = (*_NO_BF16, "avx512f")
_TAKEN_AWAY = {
    "SSE41": (*_NO_AVX512, "avx2"),
    "AVX": (*_NO_AVX512, "avx2"),
    "AVX2": _NO_AVX512,
    "AVX2_VNNI": _NO_AVX512,
    "AVX2_VNNI_2": (*_NO_AMX, "avx512_bf16", "avx512f"),
    "AVX512_CORE": _NO_BF16,
    "AVX512_CORE_VNNI": _NO_BF16,
    "AVX512_CORE_BF16": _NO_AMX,
    "AVX512_CORE_FP16": _NO_AMX,
    "AVX10_1_512": _NO_AMX,
}
LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""The variable and its former name. ATEN_CPU_CAPABILITY is none of them: products and convolutions in bf16 go to oneDNN, which
does not read it (measured: bf16 keeps its speed under `ATEN_CPU_CAPABILITY=avx2`)."""


def instruction_sets(
    cpuinfo: Path = CPUINFO, environment: Mapping[str, str] = os.environ
) -> frozenset[str] | None:
    """Those of `DECISIVE` that this processor has and the environment leaves it, None where the system does not tell."""
    match = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", _text(cpuinfo), re.MULTILINE)
    if match is None:
        return None
    have = set(match.group(1).split()) & set(DECISIVE)
    limit = next((environment[name] for name in LIMITS if environment.get(name)), "")
    return frozenset(have - set(_TAKEN_AWAY.get(limit.upper(), ())))


def processor_name(cpuinfo: Path = CPUINFO) -> str:
    """`AMD EPYC 7B13`, or whatever the system calls it."""
    match = re.search(r"^model name\s*:\s*(.+)$", _text(cpuinfo), re.MULTILINE)
    return match.group(1).strip() if match else platform.processor() or platform.machine()


def _text(cpuinfo: Path) -> str:
    try:
        return cpuinfo.read_text("utf-8", "replace")
    except OSError:
        return ""
