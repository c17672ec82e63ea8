"""A trainer for tests: it keeps the whole child contract and trains nothing, so a run takes a fraction of a second.

`QuickEngine` is what the desk sees; `quick_trainer.py` is the child. Steps can be slow, and the child can misbehave on
request: see `MODES`. It is named after a real engine because plans know only those.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kohya_bridge.architectures.base import Architecture
from kohya_bridge.device.description import Device
from kohya_bridge.device.precision import Precision, usual
from kohya_bridge.engines.contract import (
    Command,
    MachinePaths,
    Problem,
    python_module_command,
    write_child_file,
)
from kohya_bridge.engines.registry import load_engines
from kohya_bridge.plan import TrainingPlan, TrainingRequest
from kohya_bridge.run_folder import RunFolder
from kohya_bridge.workspace import write_atomically

MODES = {
    "": "train as told",
    "ignore_signals": "take no notice of control files, SIGINT and SIGTERM",
    "die_mid_line": "end at step `at` in the middle of an event line, as a killed writer does",
    "exit": "end at step `at` with exit code 7 and no word",
    "crash": "raise at step `at`",
    "lie": "say that it completed without ever saving a LoRA",
    "nan": "save a final LoRA with a number that is not finite",
    "chatter": "write two MiB to the log at every step",
    "grandchild": "start a process that would outlive it",
    "no_package": "die while importing, before training begins",
    "disk_full": "write the LoRA to a full device",
}
A_CPU = Device("cpu", "a CPU", "amx_bf16 avx2 avx512_bf16 avx512f")
TRAINER = Path(__file__).with_name("quick_trainer.py")


@dataclass(frozen=True)
class QuickEngine:
    """The engine that the desk is given instead of a real one. `obstacles` are what it answers to `problems`."""

    seconds_per_step: float = 0.0
    mode: str = ""
    at: int = 3
    interpreter: str = sys.executable
    obstacles: tuple[Problem, ...] = ()
    name: str = "native"
    number: str = "quick-1"
    trains_on: Device = A_CPU

    def version(self) -> str:
        return self.number

    def cannot_train(self, family: Architecture, options: Mapping[str, Any]) -> str:
        return load_engines()[self.name].cannot_train(family, options)

    def device(self, cache_dir: Path) -> Device:
        return self.trains_on

    def precision(self, request: TrainingRequest, of_family: Architecture, device: Device) -> Precision:
        return usual(device)

    def problems(self, plan: TrainingPlan, paths: MachinePaths) -> list[Problem]:
        """The obstacles; and what this one is like is noted for the keeper that may have to start the run."""
        if not _in_a_keeper():
            told = {key: value for key, value in asdict(self).items() if key != "obstacles"}
            write_atomically(_note(plan, paths), json.dumps(told))
        return list(self.obstacles)

    def command(
        self, run: RunFolder, plan: TrainingPlan, paths: MachinePaths, *, resume: Path | None
    ) -> Command:
        noted = json.loads(_note(plan, paths).read_text("utf-8")) if _in_a_keeper() else asdict(self)
        quick = {key: noted[key] for key in ("seconds_per_step", "mode", "at")}
        write_child_file(run, plan, paths, resume=resume, quick=quick)
        environment = python_module_command("-").environment
        return Command((noted["interpreter"], str(TRAINER), str(run.dir)), run.dir, environment)


def _in_a_keeper() -> bool:
    """A keeper makes its engine anew, by its class: it can't have been told what to be like."""
    started = getattr(sys.modules["__main__"], "__spec__", None)
    return started is not None and started.name == "kohya_bridge.keeper"


def _note(plan: TrainingPlan, paths: MachinePaths) -> Path:
    return paths.cache_dir / "quick_engine" / f"{plan.run_id}.json"
