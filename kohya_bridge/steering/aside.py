"""Runs set aside: what goes wrong with one run's folder is noted there, and every other run goes on.

In: work on one run after another. Out: the same work with each failure kept as a `Trouble` of its run, told once in the log, and
forgotten when the same work goes well again. Nothing of it is on disk: whoever looks at the folder finds the trouble again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..errors import BridgeError
from ..reasons import reason_of
from ..run_folder import RunFolder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trouble:
    """Why a run could not be dealt with, and what a person can do."""

    problem: str
    fix: str


class Aside:
    """The troubles of one process. Safe to read from any thread."""

    def __init__(self) -> None:
        self._troubles: dict[tuple[RunFolder, str], Trouble] = {}

    @contextmanager
    def sparing(self, run: RunFolder, doing: str) -> Iterator[None]:
        """Work on `run` within the block; what it raises ends that work and nothing else. `doing` names it: "look", "start"."""
        try:
            yield
        except (
            Exception
        ) as error:  # an edge between runs: whatever a strange folder provokes, the next run has its turn
            self._note(run, doing, error)
        else:
            self._troubles.pop((run, doing), None)

    def of(self, run: RunFolder) -> Trouble | None:
        """The trouble with `run`, if there is one."""
        return next((each for (other, _), each in list(self._troubles.items()) if other == run), None)

    def runs(self) -> list[RunFolder]:
        """Every run that is set aside."""
        return list(dict.fromkeys(run for run, _ in list(self._troubles)))

    def forget(self, run: RunFolder, doing: str = "") -> None:
        """It was mended or deleted: the next look finds what is left. With `doing`, only the trouble with that is over."""
        for key in [each for each in list(self._troubles) if each[0] == run and doing in ("", each[1])]:
            self._troubles.pop(key, None)

    def _note(self, run: RunFolder, doing: str, error: Exception) -> None:
        trouble = _told(error)
        if self._troubles.get((run, doing)) != trouble:
            known = isinstance(error, BridgeError)
            log.warning("Run %s is set aside: %s", run.run_id, trouble.problem, exc_info=not known)
        self._troubles[run, doing] = trouble


def _told(error: Exception) -> Trouble:
    if isinstance(error, BridgeError):
        return Trouble(error.problem, error.fix)
    what = reason_of(error)
    return Trouble(
        f"Its folder could not be dealt with ({what}).",
        "Mend or delete the run; ComfyUI's console or the shell's log has the details.",
    )
