"""`experiments.jsonl`: one line for every attempt that ended, with all that is needed to compare or repeat it.

In: a settled run. Out: a line of JSON at the end of the workspace's log. It is written once for each attempt and never
changed; runs may be deleted, their lines stay.
"""

from __future__ import annotations

import time
from typing import Any

from .. import json_text
from ..files import Tree
from ..run_folder import RunFolder
from ..run_state import RunState
from ..workspace import Workspace


def record_experiment(
    workspace: Workspace, run: RunFolder, state: RunState, *, exit_code: int | None, now: float | None = None
) -> None:
    """Append the line of the attempt that has just been settled, unless it is there: settling may have been cut short behind it.

    The caller holds the slot's lock.
    """
    told = experiment(run, state, exit_code=exit_code, now=now or time.time())
    files = Tree(workspace.root)
    if state.finished is None or not _is_recorded(files, workspace, told):
        files.append_line(workspace.experiments_file, json_text.write(told, ensure_ascii=False))


def _is_recorded(files: Tree, workspace: Workspace, told: dict[str, Any]) -> bool:
    """Whether a line tells of that very verdict: an attempt that never began has the number of the one before."""
    marks = [json_text.write({name: told[name]})[1:-1].encode() for name in ("run_id", "finished")]
    try:
        with files.open(workspace.experiments_file) as log:
            return any(all(mark in line for mark in marks) for line in log)
    except FileNotFoundError:
        return False


def experiment(run: RunFolder, state: RunState, *, exit_code: int | None, now: float) -> dict[str, Any]:
    """The facts of an attempt: what went in, on what, how long, and what came out."""
    plan = run.plan()
    environment = run.environment()
    began = next(
        (e["time"] for e in run.events() if e["kind"] == "run_started" and e["attempt"] == state.attempt),
        None,
    )
    last = state.validations[-1] if state.validations else {}
    return {
        "time": round(now, 3),
        "run_id": run.run_id,
        "character": plan.character,
        "attempt": state.attempt,
        "finished": state.finished,
        "outcome": state.outcome,
        "problem": state.problem,
        "exit_code": exit_code,
        "dataset": plan.dataset.model_dump(),
        "base_model": plan.base_model.model_dump(),
        "engine": plan.engine,
        "engine_version": plan.engine_version,
        "preset": plan.preset,
        "settings": plan.settings.model_dump(mode="json"),
        "model_files": {option: file.model_dump() for option, file in plan.model_files.items()},
        "kohya": plan.kohya,
        "pack_commit": environment.get("pack_commit"),
        "environment": environment,
        "steps": [state.resumed_from, state.step],
        "seconds_per_step": state.seconds_per_step,
        "duration_s": None if began is None else round((state.finished or now) - began, 3),
        "loss": state.loss,
        "loss_ema": state.loss_ema,
        "validation_loss": last.get("loss"),
        "best_step": state.best["step"] if state.best else None,
    }
