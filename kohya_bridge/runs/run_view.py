"""RunViews: one run as the panel shows it, and several runs side by side.

In: runs of a workspace. Out: plain JSON: the folded state with a thinned loss series, the plan, what changed against the
run before, pictures, and what could be tried next. It starts nothing and changes no run.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ..errors import BridgeError, InvalidInput, UnusableFile
from ..event_reader import OddLines
from ..plan import TrainingPlan, plan_differences
from ..redaction import cleaned
from ..run_folder import RunFolder
from ..run_state import RunState
from ..state_reader import StateReaders
from ..workspace import Workspace
from .choices import read_choices
from .retry import suggestions
from .run_list import RunLine, RunList, plan_line
from .run_pictures import Picture, list_pictures
from .thinning import MOST_ROWS, thin
from .unattended import grid_notices

MOST_COMPARED = 6


class RunViews:
    """Views of single runs. Safe to use from several threads."""

    def __init__(self, workspace: Workspace, run_list: RunList):
        self._workspace = workspace
        self._list = run_list
        self._readers = StateReaders()

    def state(self, run: RunFolder) -> RunState:
        """The run's whole state, loss series included. Events that can't be read have told nothing."""
        with suppress(UnusableFile):  # `damage.damages_of` says what is wrong with it
            return self._readers.state(run.events_file)
        return RunState()

    def odd_lines(self, run: RunFolder) -> OddLines:
        """Lines of its events that can't be taken as they stand."""
        with suppress(UnusableFile):
            return self._readers.odd(run.events_file)
        return OddLines()

    def events(self, run: RunFolder, *, after: int, most: int) -> list[dict[str, Any]]:
        """At most `most` of its events, from the first with a `seq` above `after`. Raises UnusableFile."""
        return self._readers.after(run.events_file, after, most=most)

    def pictures(self, run: RunFolder) -> list[Picture]:
        return list_pictures(self._workspace, run, self.state(run).samples)

    def judged(self, run: RunFolder) -> dict[str, Any]:
        """What was rendered for the run and what was not: `pictures` and `grid_notices`."""
        state = self.state(run)
        return {
            "pictures": [each.to_json() for each in list_pictures(self._workspace, run, state.samples)],
            "grid_notices": grid_notices(run, state.checkpoints),
        }

    def snapshot(self, run: RunFolder) -> dict[str, Any]:
        """Everything that the panel needs to draw one run; live events after `state.last_seq` bring it up to date."""
        state = self.state(run)
        told = replace(state, losses=()).to_json()  # a long series is thinned, not copied
        told["losses"] = thin(state.losses)
        plan, problem = _plan_or_problem(run)
        return {
            "run_id": run.run_id,
            "slug": run.slug,
            "dir": str(run.dir),
            "state": told,
            "steps_told": len(state.losses),
            "plan": cleaned(plan.model_dump(mode="json")) if plan else None,
            "plan_problem": problem,
            "line": plan_line(plan) if plan else None,
            "choices": read_choices(run).facts(is_over=state.is_finished),
            "changes": self._changes(run, plan),
            "suggestions": _suggestions(plan, state),
            **self.judged(run),
        }

    def losses(self, run: RunFolder, *, first: int, last: int, most: int) -> list[Sequence[Any]]:
        """The loss rows of steps `first` to `last`, thinned to `most` rows: what a zoomed chart asks for."""
        rows = [row for row in self.state(run).losses if first <= row[0] <= last]
        return thin(rows, most=min(most, MOST_ROWS))

    def compare(self, runs: Sequence[RunFolder]) -> dict[str, Any]:
        """Curves and plan differences of 2 to 6 runs, in the order asked for. Raises InvalidInput."""
        if not 2 <= len(runs) <= MOST_COMPARED or len({run.dir for run in runs}) != len(runs):
            raise InvalidInput(
                f"Compare takes 2 to {MOST_COMPARED} different runs.", "Choose them in the list."
            )
        plans = [run.plan() for run in runs]
        return {
            "runs": [self._curve(run, plan) for run, plan in zip(runs, plans, strict=True)],
            "differences": differences_table(plans),
        }

    def _curve(self, run: RunFolder, plan: TrainingPlan) -> dict[str, Any]:
        state = self.state(run)
        return {
            "run_id": run.run_id,
            "slug": run.slug,
            **plan_line(plan),
            "status": state.status,
            "step": state.step,
            "total": state.total,
            "losses": thin(state.losses, most=1000),
            "validations": list(state.validations),
            "checkpoints": list(state.checkpoints),
            "best": state.best,
        }

    def _changes(self, run: RunFolder, plan: TrainingPlan | None) -> dict[str, Any] | None:
        """What differs from the run of the same name that was planned before this one."""
        before = self._previous(run)
        if plan is None or before is None:
            return None
        old, _ = _plan_or_problem(RunFolder(self._workspace.run_dir(before.slug, before.run_id)))
        if old is None:
            return None
        return {
            "against": before.run_id,
            "fields": [
                {"field": name, "old": cleaned(was), "new": cleaned(becomes)}
                for name, was, becomes in plan_differences(old, plan)
            ],
        }

    def _previous(self, run: RunFolder) -> RunLine | None:
        lines = self._list.lines(run.slug)
        at = next((at for at, line in enumerate(lines) if line.run_id == run.run_id), None)
        return None if at is None or at + 1 >= len(lines) else lines[at + 1]


def differences_table(plans: Sequence[TrainingPlan]) -> list[dict[str, Any]]:
    """Every field in which any of `plans` differs from the first, with all their values."""
    names: dict[str, None] = {}
    for other in plans[1:]:
        for name, _, _ in plan_differences(plans[0], other):
            names[name] = None
    dumped = [cleaned(plan.model_dump(mode="json")) for plan in plans]
    return [{"field": name, "values": [_value(each, name) for each in dumped]} for name in names]


def _value(plan: dict[str, Any], dotted: str) -> Any:
    found: Any = plan
    for part in dotted.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _plan_or_problem(run: RunFolder) -> tuple[TrainingPlan | None, str]:
    try:
        return run.plan(), ""
    except BridgeError as error:
        return None, error.problem


def _suggestions(plan: TrainingPlan | None, state: RunState) -> list[dict[str, Any]]:
    """What to try next, for the failure and for each notice that a suggestion is known for."""
    if plan is None:
        return []
    codes = dict.fromkeys([state.code, *(row.get("code", "") for row in reversed(state.notices))])
    return [each.to_json() for code in codes if code for each in suggestions(plan, code)]
