"""RunSummary: a run in one row, for lists.

In: a line of the run list. Out: the fields that a list shows.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .run_list import RunLine


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
    set_aside: str
    """Why nothing can be done with it before it is mended; empty for a sound run."""
    odd_lines: str = ""
    """What is odd about its events; empty for a sound run."""

    def to_json(self) -> dict[str, Any]:
        told = asdict(self)
        return told if self.odd_lines else {key: each for key, each in told.items() if key != "odd_lines"}


def summarise(line: RunLine, *, set_aside: str = "") -> RunSummary:
    """The row of a run as the list of runs knows it. `set_aside` is what else was found to be wrong with it."""
    state, plan = line.state, line.plan
    return RunSummary(
        run_id=line.run_id,
        slug=line.slug,
        status=state.status,
        step=state.step,
        total=state.total or plan["steps"],
        engine=plan["engine"],
        preset=plan["preset"],
        base_model=plan["base_model"],
        dataset=plan["dataset"],
        created=line.created,
        updated=state.updated,
        queue_position=state.queue_position,
        best_step=state.best["step"] if state.best else None,
        problem=state.problem,
        set_aside=str(plan.get("problem", "")) or set_aside,
        odd_lines=str(line.odd),
    )
