"""The doctor: what this machine has for training, what it lacks, and the command that mends it.

In: this interpreter and machine. Out: one `Diagnosis` a subject, `missing` only where no training is possible without. It
imports neither torch nor an engine, and changes nothing. A further examination is one function and one entry in the list.
"""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .counted import counted
from .device.finding import find_device
from .device.graphics import gpus
from .device.installed_torch import torch_build
from .device.precision import usual
from .engines.environment import git_commit, package_version
from .engines.kohya.doctor import examine as examine_sd_scripts
from .models.comfy_folders import default_tokenizer_dir
from .models.model_files import list_models
from .workspace import PACK_ROOT, Workspace

NEEDED = (
    "torch",
    "diffusers",
    "peft",
    "accelerate",
    "transformers",
    "safetensors",
    "pydantic",
    "psutil",
    "pillow",
)
OPTIONAL = {
    "bitsandbytes": "AdamW8bit",
    "prodigyopt": "Prodigy",
    "lion-pytorch": "Lion",
    "schedulefree": "AdamWScheduleFree",
    "xformers": "attention: xformers",
}
ENOUGH_FREE_BYTES = 5_000_000_000


Verdict = Literal["ok", "optional", "missing"]


@dataclass(frozen=True)
class Diagnosis:
    """One subject: `ok`, `optional` (not there, training works without it) or `missing`."""

    subject: str
    verdict: Verdict
    found: str
    fix: str = ""


@dataclass(frozen=True)
class Patient:
    """What is examined."""

    workspace: Workspace
    checkpoint_dirs: Sequence[Path]


def examine_machine(workspace: Workspace, checkpoint_dirs: Sequence[Path]) -> list[Diagnosis]:
    """Everything that matters for training, in the order in which one would mend it."""
    patient = Patient(workspace, checkpoint_dirs)
    return [diagnosis for examine in EXAMINATIONS for diagnosis in examine(patient)]


def _python(patient: Patient) -> Iterator[Diagnosis]:
    yield Diagnosis("python", "ok", f"{platform.python_version()} ({sys.executable})")


def _packages(patient: Patient) -> Iterator[Diagnosis]:
    for name in NEEDED:
        version = package_version(name)
        if version:
            yield Diagnosis(name, "ok", version)
        else:
            yield Diagnosis(name, "missing", "not installed", f"{sys.executable} -m pip install {name}")
    for name, use in OPTIONAL.items():
        version = package_version(name)
        if version:
            yield Diagnosis(name, "ok", version)
        else:
            fix = f"For {use}: {sys.executable} -m pip install {name}"
            yield Diagnosis(name, "optional", "not installed", fix)


def _gpu(patient: Patient) -> Iterator[Diagnosis]:
    """The device of the native engine, and what `mixed_precision: auto` is on it. Starts a child only where looking is not enough."""
    device = find_device(patient.workspace.cache_dir)
    cards = gpus()
    if device.is_gpu:
        memory = f", {device.memory_gib} GiB" if device.memory_gib else ""
        driver = f", driver {cards[0]['driver_version']}" if cards else ""
        yield Diagnosis("gpu", "ok", f"{device.name}{memory}{driver}")
    elif cards:
        build = torch_build()
        found = f"{cards[0]['name']}, which torch {build.version if build else '(missing)'} can't use"
        yield Diagnosis("gpu", "optional", found, "Install a torch build for this GPU; see pytorch.org.")
    else:
        fix = "Training runs on the CPU, slowly. For a GPU install its driver, and a torch that is built for it."
        yield Diagnosis("gpu", "optional", f"none that torch can use; it trains on {device.name}", fix)
    yield Diagnosis("mixed_precision", "ok", f"auto is {usual(device).reason}")


def _disk(patient: Patient) -> Iterator[Diagnosis]:
    root = patient.workspace.root
    existing = next(each for each in (root, *root.parents) if each.exists())
    free = shutil.disk_usage(existing).free
    found = f"{free / 1e9:.1f} GB free at {root}"
    if free >= ENOUGH_FREE_BYTES:
        yield Diagnosis("disk", "ok", found)
    else:
        yield Diagnosis("disk", "missing", found, "Free at least 5 GB, or choose another workspace.")


def _workspace(patient: Patient) -> Iterator[Diagnosis]:
    root = patient.workspace.root
    runs = sum(1 for _ in patient.workspace.run_dirs())
    yield Diagnosis("workspace", "ok", f"{root}, {counted(runs, 'run')}")


def _base_models(patient: Patient) -> Iterator[Diagnosis]:
    models = list_models(patient.checkpoint_dirs)
    if models:
        yield Diagnosis("base models", "ok", f"{len(models)}: {', '.join(models[:5])}")
    else:
        fix = "Set COMFYUI_DIR, or name a folder with --checkpoints."
        yield Diagnosis("base models", "optional", "none found", fix)


def _tokenizer(patient: Patient) -> Iterator[Diagnosis]:
    folder = default_tokenizer_dir()
    if (folder / "vocab.json").is_file():
        yield Diagnosis("tokenizer", "ok", str(folder))
    else:
        yield Diagnosis(
            "tokenizer", "missing", f"not at {folder}", "Set COMFYUI_DIR to a ComfyUI; it brings CLIP's."
        )


def _sd_scripts(patient: Patient) -> Iterator[Diagnosis]:
    """The kohya engine is an extra: what it lacks stands in nobody's way who trains natively."""
    for each in examine_sd_scripts(tokenizer_dir=default_tokenizer_dir()):
        verdict: Verdict = "ok" if each.state in ("ok", "info") else "optional"
        yield Diagnosis(f"kohya: {each.what}", verdict, each.found, each.fix)


def _pack(patient: Patient) -> Iterator[Diagnosis]:
    yield Diagnosis("pack commit", "ok", git_commit(PACK_ROOT) or "not a git checkout")


EXAMINATIONS: tuple[Callable[[Patient], Iterator[Diagnosis]], ...] = (
    _python,
    _packages,
    _gpu,
    _disk,
    _workspace,
    _base_models,
    _tokenizer,
    _pack,
    _sd_scripts,
)
