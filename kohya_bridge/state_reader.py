"""The state of runs, read on: what each event file tells, folded once, and only what was added to it when one looks again.

In: event files. Out: `RunState`s, with what is odd about the file, and the events behind any of its numbers without the ones before
them. Standard library only.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from .event_reader import EventReader, OddLines, Place, read_events
from .run_state import RunState, fold

EVENTS_BETWEEN_MARKS = 500
RECENT = 1000
"""Events of a run that are kept as they are: whoever follows one asks for the last few, again and again."""
MOST_KEPT_BYTES = 8192
"""Of one event's line; a trainer's are some hundred bytes long."""
STATES_KEPT = 8


def read_state(file: Path) -> RunState:
    """What a whole file tells."""
    return fold(read_events(file))


class StateReader:
    """The state of one run. `with_losses=False` leaves out the loss series, for lists, and with it the quick way to single events.
    Not for several threads at once."""

    def __init__(
        self, file: Path, *, with_losses: bool = True, place: Place = Place(), state: RunState = RunState()
    ):
        """`place` and `state` are those of a reader before, in this process or another."""
        self._events = EventReader(file, place)
        self._with_losses = with_losses
        self.state = state
        self._marks: list[tuple[int, Place]] = [(0, Place())]
        self._recent: deque[dict[str, Any]] = deque(maxlen=RECENT if with_losses else 0)

    @property
    def place(self) -> Place:
        return self._events.place

    @property
    def began_again(self) -> bool:
        """Whether the last look found another file, or a shorter one."""
        return self._events.began_again

    @property
    def odd(self) -> OddLines:
        return self._events.odd

    def look(self) -> RunState:
        """The state now. What was read before an UnusableFile is raised is kept."""
        found: list[dict[str, Any]] = []
        try:
            for event in self._fresh():
                found.append(event)
        finally:
            if self._events.began_again:
                self.state = RunState()
                if not found:
                    self._begin_again()
            if found:
                self.state = self._folded(found)
        return self.state

    def _folded(self, found: list[dict[str, Any]]) -> RunState:
        if self._with_losses:
            return fold(found, self.state)
        if self.state.loss_count and any(event["kind"] == "run_started" for event in found):
            # Steps are undone, and what the smoothed loss was before them is told by the losses alone.
            last = found[-1]["seq"]
            state = fold(event for event in read_events(self._events.file) if event["seq"] <= last)
        else:
            state = fold(found, self.state)
        return replace(state, losses=())

    def after(self, seq: int) -> Iterator[dict[str, Any]]:
        """The events above `seq`, at hand or read from shortly before the first of them. `look` comes first. They are not to be changed."""
        if self._recent and self._recent[0]["seq"] <= seq + 1:
            return iter([event for event in self._recent if event["seq"] > seq])
        _, place = self._marks[bisect_right(self._marks, seq, key=lambda mark: mark[0]) - 1]
        reader = EventReader(self._events.file, place)
        return (event for event in reader.fresh() if event["seq"] > seq)

    def _fresh(self) -> Iterator[dict[str, Any]]:
        marks, before = self._marks, self._events.offset
        for event in self._events.fresh():
            if self._events.began_again and marks is self._marks:
                self._begin_again()
            self._keep(event, self._events.offset - before)
            before = self._events.offset
            if self._with_losses and self._events.lines % EVENTS_BETWEEN_MARKS == 0:
                self._marks.append((event["seq"], self._events.place))
            yield event

    def _begin_again(self) -> None:
        self._marks = [(0, Place())]
        self._recent.clear()

    def _keep(self, event: dict[str, Any], length: int) -> None:
        """Without a hole between those that are kept: one that is too long to be kept takes all before it along."""
        if length > MOST_KEPT_BYTES:
            self._recent.clear()
        else:
            self._recent.append(event)


class StateReaders:
    """Readers of the runs that were looked at last. Safe to use from several threads: one reads a run, the others wait."""

    def __init__(self, most: int = STATES_KEPT):
        self._lock = threading.Lock()
        self._known: OrderedDict[Path, StateReader] = OrderedDict()
        self._most = most

    def state(self, file: Path) -> RunState:
        """What a file tells now. Raises UnusableFile."""
        with self._lock:
            return self._reader(file).look()

    def odd(self, file: Path) -> OddLines:
        """The lines of a file that can't be taken as they stand. Raises UnusableFile."""
        with self._lock:
            reader = self._reader(file)
            reader.look()
            return reader.odd

    def after(self, file: Path, seq: int, *, most: int) -> list[dict[str, Any]]:
        """At most `most` events above `seq`. Raises UnusableFile."""
        with self._lock:
            reader = self._reader(file)
            reader.look()
            return list(islice(reader.after(seq), most))

    def forget(self, file: Path) -> None:
        with self._lock:
            self._known.pop(file, None)

    def _reader(self, file: Path) -> StateReader:
        reader = self._known.pop(file, None) or StateReader(file)
        self._known[file] = reader
        while len(self._known) > self._most:
            self._known.popitem(last=False)
        return reader
