"""The stop ladder: ask, interrupt, terminate, kill; each rung with its seconds, each one told.

In: which rungs, a clock, how to signal. Out: a `Ladder` whose `step()` is called now and then and climbs when a rung's
time is over. It never waits itself, so that a keeper and a watcher can each drive it. Standard library only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import json_text
from .errors import UnusableFile
from .files import Tree

LONGEST_S = 86_400.0
"""Of one rung. A longer one would never be climbed."""


@dataclass(frozen=True)
class Rung:
    """One way to end a child, and how many seconds it gets before the next one."""

    how: str
    seconds: float


# The control file is answered at the next step boundary, and what is going on there (a measurement, a big state on a slow
# disk) may take minutes; whoever can't wait that long asks for AT_ONCE.
SOFT = (Rung("ask", 300), Rung("interrupt", 60), Rung("terminate", 30), Rung("kill", 10))
AT_ONCE = (Rung("interrupt", 5), Rung("terminate", 10), Rung("kill", 10))

SENTENCES = {
    "ask": "Asked the trainer to stop after this step and save; it has {seconds:g} seconds.",
    "interrupt": "Interrupting the trainer; it has {seconds:g} seconds.",
    "terminate": "Terminating the trainer; it has {seconds:g} seconds.",
    "kill": "Killing the trainer and everything that it started.",
}


class Ladder:
    """Climbs from rung to rung until the child is gone. What it did is kept in `file` for whoever settles the run."""

    def __init__(
        self,
        rungs: tuple[Rung, ...],
        *,
        send: Callable[[str], bool],
        tell: Callable[[str], None],
        file: Path,
        clock: Callable[[], float] = time.time,
    ):
        self.rungs, self.file = rungs, file
        self._send, self._tell, self._clock = send, tell, clock
        self._next = 0
        self._until = 0.0

    def step(self) -> None:
        """Take the next rung if the present one has had its time."""
        now = self._clock()
        if self._next >= len(self.rungs) or now < self._until:
            return
        rung = self.rungs[self._next]
        self._next, self._until = self._next + 1, now + rung.seconds
        sentence = SENTENCES[rung.how].format(seconds=rung.seconds)
        self._tell(sentence)
        climbed = [*read_climbed(self.file), {**asdict(rung), "time": now}]
        with suppress(OSError):  # a full disk does not keep a run from being stopped
            Tree(self.file.parent).write(self.file, json_text.write(climbed))
        if rung.how != "ask":
            self._send(rung.how)


def requested_rungs(stop_file: Path) -> tuple[Rung, ...] | None:
    """The rungs that a `control/stop` request names, SOFT if it names none, None if there is no request."""
    try:
        request = json_text.read(Tree(stop_file.parents[1]).read_text(stop_file) or "{}")
    except FileNotFoundError:
        return None
    except (ValueError, UnusableFile):  # written by hand, such as with `touch`
        return SOFT
    rows = request.get("rungs") if isinstance(request, dict) else None
    rungs = (
        tuple(Rung(row["how"], float(row["seconds"])) for row in rows if _is_rung(row))
        if isinstance(rows, list)
        else ()
    )
    return rungs or SOFT


def read_climbed(file: Path) -> list[dict[str, Any]]:
    """The rungs that were taken in this attempt, oldest first."""
    try:
        told = Tree(file.parent).read_json(file)
    except OSError:
        return []
    return [each for each in told if _is_rung(each)] if isinstance(told, list) else []


def _is_rung(told: Any) -> bool:
    """Whether it is one that can be climbed: whoever is asked to stop stops, whatever else the request holds."""
    is_named = isinstance(told, dict) and isinstance(how := told.get("how"), str) and how in SENTENCES
    return is_named and type(told.get("seconds")) in (int, float) and 0 <= told["seconds"] <= LONGEST_S
