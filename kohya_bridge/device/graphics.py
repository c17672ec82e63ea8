"""Graphics cards as their drivers tell of them, without torch.

In: `nvidia-smi`, and the kernel's own list of AMD cards. Out: `Device`s, and for NVIDIA the driver's facts. Intel's and Apple's
are asked of torch in a child. Standard library only.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .description import CUDA, ROCM, Device

NVIDIA_NODES = ("/dev/nvidia0", "/dev/dxg")
KFD_NODES = Path("/sys/class/kfd/kfd/topology/nodes")
_FIELDS = ("name", "memory.total", "driver_version", "compute_cap")


def gpus() -> list[dict[str, str]]:
    """NVIDIA GPUs with their memory and driver, none where there is no `nvidia-smi`."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    answer = _output([tool, f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader"])
    rows = ([part.strip() for part in line.split(",")] for line in answer.splitlines())
    return [dict(zip(_FIELDS, row, strict=True)) for row in rows if len(row) == len(_FIELDS)]


def nvidia_cards() -> list[Device]:
    """NVIDIA's cards, without architecture where the driver is too old to tell it (before 2021)."""
    return [
        Device(CUDA, each["name"], _capability(each["compute_cap"]), _gib(each["memory.total"]))
        for each in gpus()
    ]


def nvidia_driver_is_there() -> bool:
    """Whether there seems to be a driver, even if `nvidia-smi` is not on the path (containers, WSL)."""
    return any(Path(node).exists() for node in NVIDIA_NODES) or shutil.which("nvidia-smi") is not None


def amd_cards(nodes: Path = KFD_NODES) -> list[Device]:
    """AMD's cards that the ROCm driver serves: `gfx_target_version 110000` is gfx1100. Processors have 0 there."""
    found = []
    for file in sorted(nodes.glob("*/properties")):
        try:
            match = re.search(r"^gfx_target_version (\d+)$", file.read_text("ascii", "replace"), re.MULTILINE)
        except OSError:
            continue
        if match and int(match.group(1)):
            found.append(Device(ROCM, "AMD GPU", gfx_name(int(match.group(1)))))
    return found


def has_code_for(device: Device, arch_list: Sequence[str]) -> bool:
    """Whether a torch built for `arch_list` (`torch.cuda.get_arch_list()`) has code for a card: on NVIDIA that of the same major
    and no newer minor, or PTX of an older one; on AMD its own. Others have no such list."""
    if device.arch is None or device.kind not in (CUDA, ROCM):
        return True
    if device.kind == ROCM:
        return device.arch in [each.split(":")[0] for each in arch_list]
    mine = tuple(int(part) for part in device.arch.split("."))
    found = (re.match(r"(sm|compute)_(\d+)(\d)", each) for each in arch_list)
    code = [(each.group(1), (int(each.group(2)), int(each.group(3)))) for each in found if each]
    return any(its <= mine and (its[0] == mine[0] if kind == "sm" else True) for kind, its in code)


def gfx_name(version: int) -> str:
    """`90010` is gfx90a: major in decimal, minor and stepping as one hexadecimal digit each."""
    return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"


def _capability(text: str) -> str | None:
    return text if re.fullmatch(r"\d+\.\d+", text) else None


def _gib(text: str) -> float | None:
    """Of `8192 MiB`."""
    match = re.match(r"(\d+) MiB", text)
    return round(int(match.group(1)) / 1024, 1) if match else None


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
