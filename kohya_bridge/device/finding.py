"""Finding the device that an interpreter's torch would train on, from a process that need not have torch.

In: an interpreter, a cache folder. Out: a `Device` whose formats are known. Looking is enough where torch's build, the driver and
the processor tell all; otherwise `probe` is run as a child and its answer kept for this machine, torch build and driver.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import json_text
from ..engines.contract import python_module_command
from ..files import Tree
from .accelerator import Accelerator
from .description import CPU, Device
from .graphics import amd_cards, gpus, nvidia_cards, nvidia_driver_is_there
from .installed_torch import TorchBuild, torch_build
from .precision import verdict
from .processor import LIMITS, instruction_sets, processor_name

PROBE = "kohya_bridge.device.probe"
TIMEOUT_S = 120.0
# Which card torch sees, and what it takes it for: where one of these is set, torch itself is asked.
CHOOSING = (
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "HSA_OVERRIDE_GFX_VERSION",
    "ZE_AFFINITY_MASK",
    "ONEAPI_DEVICE_SELECTOR",
)
NOTHING_VISIBLE = ("", "-1")
CACHE_VERSION = 1


def find_device(cache_dir: Path, *, interpreter: Path | None = None, measured: bool = False) -> Device:
    """The device that the torch of `interpreter` (by default this one) trains on.

    With `measured` its formats are timed even where their worth is known. When nothing answers, a CPU of which nothing is known.
    """
    if not measured:
        seen = look(interpreter)
        if seen is not None and verdict(seen) is not None:
            return seen
    return _kept_or_asked(cache_dir, interpreter, measured=measured)


def look(interpreter: Path | None = None, environment: Mapping[str, str] = os.environ) -> Device | None:
    """What can be told without starting anything, None where only torch itself knows. Its formats may be unknown."""
    torch = sys.modules.get("torch")
    if interpreter is None and hasattr(torch, "cuda"):
        return Accelerator.find(torch).describe()
    build = torch_build(interpreter)
    if build is None:
        return None if interpreter else this_processor()
    cards = _cards(build, environment)
    if cards is None:
        return None
    return cards[0] if cards else this_processor()


def this_processor() -> Device:
    """The CPU."""
    sets = instruction_sets()
    return Device(CPU, processor_name(), None if sets is None else " ".join(sorted(sets)))


def _cards(build: TorchBuild, environment: Mapping[str, str]) -> list[Device] | None:
    """The cards that this torch can use, all of one mind about formats; None where it must be asked."""
    apple = sys.platform == "darwin" and platform.machine() == "arm64"
    if build.xpu or apple:
        return None
    if not (build.cuda or build.hip):
        return []
    chosen = {name: environment[name].strip() for name in CHOOSING if name in environment}
    if any(chosen.get(name) in NOTHING_VISIBLE for name in chosen if name.endswith("VISIBLE_DEVICES")):
        return []
    cards = amd_cards() if build.hip else nvidia_cards()
    if chosen or (build.cuda and not cards and nvidia_driver_is_there()):
        return None
    best = {known.best if (known := verdict(each)) else None for each in cards}
    return cards if not cards or (len(best) == 1 and None not in best) else None


def _kept_or_asked(cache_dir: Path, interpreter: Path | None, *, measured: bool) -> Device:
    machine = _machine(interpreter)
    digest = hashlib.sha256(json_text.write([machine, measured], sort_keys=True).encode()).hexdigest()[:16]
    cache, file = Tree(cache_dir), f"devices/{digest}.json"
    try:
        return Device.from_json(cache.read_json(file)["device"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not asked yet, or written by another version: it is asked anew
    device = _ask(interpreter, measured=measured)
    if device is None:
        return Device(CPU, processor_name(), None)
    cache.write(file, json_text.write({"machine": machine, "device": device.to_json()}, indent=1))
    return device


def _machine(interpreter: Path | None) -> dict[str, Any]:
    """All that an answer depends on."""
    sets = instruction_sets()
    build = torch_build(interpreter)
    names = (*CHOOSING, *LIMITS, "ATEN_CPU_CAPABILITY")
    return {
        "version": CACHE_VERSION,
        "host": platform.node(),
        "system": platform.platform(),
        "processor": processor_name(),
        "instruction_sets": sorted(sets) if sets else None,
        "interpreter": str(interpreter or sys.executable),
        "torch": build.__dict__ if build else None,
        "cards": [each.__dict__ for each in amd_cards()] if build and build.hip else gpus(),
        "environment": {name: os.environ[name] for name in names if name in os.environ},
    }


def _ask(interpreter: Path | None, *, measured: bool) -> Device | None:
    """The probe's answer, None where torch can't be asked."""
    command = python_module_command(
        PROBE, *(["--measure"] if measured else []), interpreter=str(interpreter) if interpreter else None
    )
    try:
        done = subprocess.run(
            command.argv,
            cwd=command.cwd,
            env={**os.environ, **command.environment},
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
        return Device.from_json(json.loads(done.stdout.strip().splitlines()[-1]))
    except (OSError, subprocess.TimeoutExpired, ValueError, RecursionError, LookupError, TypeError):
        return None
