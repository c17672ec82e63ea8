"""RunSummary: a run in one row, for lists.

In: a run folder and its folded state. Out: the fields that a list shows.
"""

from __future__ import annotations

from dataclasses import dataclass

from .run_folder import RunFolder
from .run_state import RunState


@dataclass(frozen=True)
class RunSummary:
    """One row of a list of runs."""

    run_id: str
    slug: str
    status: str
    step: int
    total: int
    engine: str
    preset: str
    base_model: str
    dataset: str
    created: float
    updated: float | None
    queue_position: int | None
    best_step: int | None
    problem: str


def summarise(run: RunFolder, state: RunState) -> RunSummary:
    """The row of a run in `state`."""
    plan = run.plan()
    return RunSummary(
        run_id=run.run_id,
        slug=run.slug,
        status=state.status,
        step=state.step,
        total=state.total or plan.settings.max_train_steps,
        engine=plan.engine,
        preset=plan.preset,
        base_model=plan.base_model.name,
        dataset=plan.dataset.slug,
        created=run.plan_file.stat().st_mtime,
        updated=state.updated,
        queue_position=state.queue_position,
        best_step=state.best["step"] if state.best else None,
        problem=state.problem,
    )
