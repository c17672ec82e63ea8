"""What the desk asks of an engine, and what it launches.

In: a plan and where things lie on this machine. Out: findings before anything is spent, and a `Command` to start. Every engine
of `engine_names` implements it. None is imported by its child process's parent for training.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .. import json_text
from ..architectures.base import Architecture
from ..device.description import Device
from ..device.precision import Precision
from ..plan import TrainingPlan, TrainingRequest
from ..run_folder import RunFolder
from ..workspace import PACK_ROOT


@dataclass(frozen=True)
class Problem:
    """Something that stands between a plan and its start. `blocks` tells an obstacle from advice."""

    code: str
    problem: str
    fix: str
    blocks: bool = True

    @property
    def sentence(self) -> str:
        """What is the matter and what to do."""
        return f"{self.problem} {self.fix}".strip()


@dataclass(frozen=True)
class MachinePaths:
    """Where things lie on this machine: no part of a run's identity. All absolute."""

    base_model_file: Path
    dataset_dir: Path
    cache_dir: Path
    tokenizer_dir: Path
    """A folder with CLIP's `vocab.json` and `merges.txt` (ComfyUI's `comfy/sd1_tokenizer`, or ours)."""
    extra: dict[str, str] = field(default_factory=dict)
    """Further model files by sd-scripts option name (`clip_l`, `t5xxl`, `ae`, `network_weights`)."""


@dataclass(frozen=True)
class Command:
    """A child to start: a list, never a shell line."""

    argv: tuple[str, ...]
    cwd: Path
    environment: dict[str, str] = field(default_factory=dict)
    """Added to the parent's environment."""


class Engine(Protocol):
    """What the desk knows of an engine."""

    name: str

    def version(self) -> str:
        """What a plan records as `engine_version`. Raises Unavailable when the engine is not set up."""

    def cannot_train(self, family: Architecture, options: Mapping[str, Any]) -> str:
        """Why it can't train that family, or can't with these model files and options of the request's kohya section, as a
        sentence; empty when it can. Whether it is set up on this machine is another question."""

    def device(self, cache_dir: Path) -> Device:
        """What it would train on here. Takes seconds where torch has to be asked, and is remembered in `cache_dir`."""

    def precision(self, request: TrainingRequest, of_family: Architecture, device: Device) -> Precision:
        """What `mixed_precision: auto` means for this request on that device, and why."""

    def problems(self, plan: TrainingPlan, paths: MachinePaths) -> list[Problem]:
        """Everything that stands between this plan and its start on this machine, all at once."""

    def command(
        self, run: RunFolder, plan: TrainingPlan, paths: MachinePaths, *, resume: Path | None
    ) -> Command:
        """Write what the child needs into the run folder and say how to start it. `resume` is a state folder."""


def write_child_file(
    run: RunFolder, plan: TrainingPlan, paths: MachinePaths, *, resume: Path | None, **more: Any
) -> Path:
    """Write `child.json`: all that a child is told, as plain JSON, since its interpreter may lack our packages."""
    told = {
        "plan": plan.model_dump(mode="json"),
        "run_id": plan.run_id,
        "paths": {
            "base_model_file": str(paths.base_model_file),
            "dataset_dir": str(paths.dataset_dir),
            "cache_dir": str(paths.cache_dir),
            "tokenizer_dir": str(paths.tokenizer_dir),
            **paths.extra,
        },
        "resume": str(resume) if resume else None,
        **more,
    }
    return run.files.write(run.child_file, json_text.write(told, indent=1, ensure_ascii=False))


def unless_set(**wanted: str) -> dict[str, str]:
    """Environment variables for a child, each with the person's own value where they have set one."""
    return {name: os.environ.get(name, value) for name, value in wanted.items()}


# An embedded Python (ComfyUI's portable build for Windows) runs isolated: it heeds neither PYTHONPATH nor the working
# folder, so `-m` would not find this pack.
_ISOLATED_START = (
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


def python_module_command(
    module: str,
    *arguments: str,
    interpreter: str | None = None,
    isolated: bool | None = None,
) -> Command:
    """`python -m module arguments` with this pack importable, UTF-8 everywhere and no hub access.

    `isolated` says whether the interpreter ignores its environment; by default as this process does.
    """
    parts = [str(PACK_ROOT), *filter(None, [os.environ.get("PYTHONPATH", "")])]
    environment = {
        "PYTHONPATH": os.pathsep.join(parts),
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        # Resume states of sd-scripts are pickles, and a run's folder may have been passed on: of those, tensors alone are read.
        "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1",
        "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "0",
    }
    if isolated is None:
        isolated = interpreter is None and bool(sys.flags.isolated)
    start: tuple[str, ...]
    if isolated:
        start = ("-u", "-X", "utf8", "-c", _ISOLATED_START, str(PACK_ROOT), module)
    else:
        start = ("-m", module)
    return Command((interpreter or sys.executable, *start, *arguments), PACK_ROOT, environment)
