"""What the campaigns hurt: each engine's trainer on something tiny, started as the desk starts it but from a warm process.

In: a scratch folder. Out: `Subject`s (`crash_points.py`): the quick double, the native engine on seeded weights, sd-scripts'
double under our real runner, and real visits at the desk with keepers. Trainers alone are forked from a process that has
imported torch already.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from kohya_bridge import processes, supervisor
from kohya_bridge.engines.contract import MachinePaths, write_child_file
from kohya_bridge.engines.kohya.engine import KohyaEngine
from kohya_bridge.plan import TrainingPlan, TrainingRequest
from kohya_bridge.run_folder import RunFolder
from kohya_bridge.run_state import FINISHED
from kohya_bridge.steering.settling import settle
from kohya_bridge.workspace import PACK_ROOT, Workspace
from tests.desk.conftest import BASE, write_base_model
from tests.desk.conftest import make_dataset as make_dataset_of_the_desk
from tests.forks import forks, stand_alone
from tests.kohya_bench import Bench, make_bench
from tests.native_world import World, make_base, make_dataset
from tests.rehearsed_runs import rehearsed_plan

from .at_the_desk import desk_of
from .crash_points import Subject
from .durable import Fault, install

TIMEOUT_S = 240.0
STEPS = {"max_train_steps": 4, "save_every_n_steps": 2, "validate_every_n_steps": 2, "save_last_n_states": 1}
"""Two boundaries, the last one among them, and a state that is pruned at it."""
EARLY = {**STEPS, "max_train_steps": 20, "early_stop_patience": 1, "early_stop_min_delta": 1000.0}
"""The first measurement after the untrained model's is no better by so much: training stops there."""


@dataclass
class Trained:
    """Runs of one plan below `root`; `orders` writes what the child is told, `main` is the child."""

    root: Path
    plan: TrainingPlan
    orders: Callable[[RunFolder, TrainingPlan, Path | None], dict[str, str]]
    main: Callable[[Path], Any]
    weights_only: bool = False

    def run(self, name: str) -> RunFolder:
        run = RunFolder(self.root / name / "runs" / self.plan.character / self.plan.run_id)
        run.dir.mkdir(parents=True)
        run.plan_file.write_text(self.plan.to_yaml(), encoding="utf-8")
        return run

    def attempt(self, run: RunFolder, fault: Fault | None) -> None:
        latest = run.latest_state()
        environment = self.orders(run, self.plan, latest[1] if latest else None)
        run.append("queued", position=0)
        child = forks().Process(target=_train, args=(self.main, run.dir, environment, fault))
        child.start()
        child.join(TIMEOUT_S)
        if child.exitcode is None:
            child.kill()
            child.join()
            raise AssertionError(f"An attempt hung:\n{run.log_tail()}")
        settle(run, exit_code=child.exitcode)


def _train(
    main: Callable[[Path], Any], run_dir: Path, environment: dict[str, str], fault: Fault | None
) -> None:
    stand_alone(run_dir / "train.log")
    os.environ.update(environment, OMP_NUM_THREADS="1")
    if fault:
        install(fault)
    raise SystemExit(main(run_dir))


def quick(root: Path, **settings: Any) -> Trained:
    """The quick double: the child contract with arithmetic in place of training."""
    plan = rehearsed_plan(**{**STEPS, **settings})
    paths = MachinePaths(root / "base", root / "dataset", root / "cache", root / "tokenizer")

    def orders(run: RunFolder, plan: TrainingPlan, resume: Path | None) -> dict[str, str]:
        write_child_file(run, plan, paths, resume=resume, quick={"mode": "", "at": -1, "seconds_per_step": 0})
        return {}

    return Trained(root, plan, orders, _quick_main)


def native(root: Path, **settings: Any) -> Trained:
    """The native engine on a base model of two million seeded weights."""
    if not (root / "base").is_dir():
        make_base(root / "base")
        make_dataset(root / "dot")
    world = World(root, root / "base", root / "dot", root / "cache")

    def orders(run: RunFolder, plan: TrainingPlan, resume: Path | None) -> dict[str, str]:
        write_child_file(run, plan, world.paths(), resume=resume)
        return {}

    return Trained(root, world.plan(**{**STEPS, **settings}), orders, _native_main)


def kohya(root: Path, **settings: Any) -> Trained:
    """sd-scripts' double under our real runner. It writes the time into its files, so weights are compared."""
    bench: Bench = make_bench(root / "bench")

    def orders(run: RunFolder, plan: TrainingPlan, resume: Path | None) -> dict[str, str]:
        return dict(KohyaEngine().command(run, plan, bench.paths, resume=resume).environment)

    return Trained(root, bench.plan(**{**STEPS, **settings}), orders, _kohya_main, weights_only=True)


@dataclass
class Visited:
    """Runs that a desk starts, each in a workspace of its own, with real keepers; `role` is the process that a fault befalls."""

    root: Path
    role: str
    weights_only: bool = False
    seconds_per_step: float = 0.0
    settings: dict[str, Any] = field(default_factory=lambda: dict(STEPS))

    def run(self, name: str) -> RunFolder:
        workspace = Workspace.at(self.root / name / "training")
        make_dataset_of_the_desk(workspace, "alice", pictures=2)
        write_base_model(self.root / name / "models" / "checkpoints" / BASE)
        plan = desk_of(workspace.root).check(TrainingRequest.model_validate(self._request)).plan
        return RunFolder(workspace.run_dir(plan.character, plan.run_id))

    @property
    def _request(self) -> dict[str, Any]:
        return {
            "dataset": "alice",
            "base_model": BASE,
            "settings": STEPS,
        }

    def attempt(self, run: RunFolder, fault: Fault | None) -> None:
        """A visit at the desk. Who is killed leaves the others alive; the visit is over when none of them is."""
        root = run.dir.parents[2]
        fault = replace(fault, root=str(root), role=self.role) if fault else None
        self.visit(root, fault.environment() if fault else {}).wait(TIMEOUT_S)
        self.wait_until_dead(run)
        refuse_ghosts(run)

    def visit(self, root: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """Somebody comes to the desk, submits the request and follows the run."""
        request = json.dumps({**self._request, "seconds_per_step": self.seconds_per_step})
        argv = [sys.executable, "-m", "scripts.chaos.at_the_desk", str(root), request]
        with open(root.parent / "visits.log", "ab") as log:
            return subprocess.Popen(
                argv, env={**os.environ, **environment}, cwd=PACK_ROOT, stdout=log, stderr=log
            )

    def wait_until_dead(self, run: RunFolder) -> None:
        until = time.monotonic() + TIMEOUT_S
        while supervisor.trainer_lives(run) or supervisor.keeper_lives(run) or working_for(run):
            assert time.monotonic() < until, f"Something hangs:\n{run.log_tail()}"
            time.sleep(0.05)


def working_for(run: RunFolder) -> list[int]:
    """Pids of everything that works for a run, known to its files or not."""
    return [each.pid for each in psutil.process_iter() if processes.was_started_for(each.pid, run.dir)]


def refuse_ghosts(run: RunFolder) -> None:
    """Raise AssertionError if a run of which nothing lives is shown as if something did, by whoever looks first."""
    if run.exists:
        desk = desk_of(run.dir.parents[2])
        desk.reconcile()
        shown = desk.state(run.run_id).status
        alive = desk.is_alive(run.run_id) or desk.queue() or supervisor.keeper_lives(run)
        assert alive or shown in FINISHED, f"Nothing works for the run, and it is shown as {shown}."


def _quick_main(run_dir: Path) -> Any:
    from tests.doubles.quick_trainer import main

    return main(run_dir)


def _native_main(run_dir: Path) -> Any:
    from kohya_bridge.engines.native.__main__ import main

    return main([str(run_dir)])


def _kohya_main(run_dir: Path) -> Any:
    from kohya_bridge.engines.kohya.runner import main

    return main(run_dir)


SUBJECTS: dict[str, Callable[[Path], Subject]] = {
    "quick": quick,
    "quick, early stop": partial(quick, **EARLY),
    "native": native,
    "native, early stop": partial(native, **EARLY),
    "kohya": kohya,
    "kohya, early stop": partial(kohya, **EARLY),
    "desk": lambda root: Visited(root, "at_the_desk"),
    "keeper": lambda root: Visited(root, "kohya_bridge.keeper"),
    "trainer": lambda root: Visited(root, "quick_trainer.py"),
}
