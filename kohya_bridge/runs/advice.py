"""What was advised before the start and did not stand in its way (no GPU, little memory, unusual rates), as notices of the run.

In: a `Check`'s advice. Out: notice events, before the order of the run; each stands there once, however often the run is ordered. What
lint finds is no part of it: that stands in the dataset's own report.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..engines.contract import Problem
from ..run_folder import RunFolder


def of_the_training(advice: Iterable[Problem]) -> list[Problem]:
    """What of an advice is about the training and not about the dataset."""
    return [each for each in advice if not each.code.startswith("lint:")]


def tell_advice(run: RunFolder, advice: Iterable[Problem]) -> None:
    """For a run that has no living child. Raises StorageError."""
    known = {row.get("problem") for row in run.state().notices}
    for each in of_the_training(advice):
        if each.problem not in known:
            run.append("notice", level="warning", problem=each.problem, fix=each.fix, code=each.code)
