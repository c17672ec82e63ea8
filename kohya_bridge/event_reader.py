"""Reading `events.jsonl`: the one way from its bytes to events, and from events to the state of a run.

In: an event file that somebody else may be writing, and that anybody may have written. Out: its events in the order of the file,
each read once however often one looks; and, counted, the lines that can't be taken as they stand, which hide none of the others.
A file that got shorter or was replaced is read from its beginning. Standard library only: trainers read their own events with it.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from .breathing import breathe
from .counted import counted
from .errors import UnusableFile
from .event_shape import EVENT_KINDS, EVENT_VERSION, parse_line, what_is_wrong
from .files import Tree

MOST_LINE_BYTES = 4 << 20
MOST_BYTES = 4 << 30
TAIL_BYTES = 64


@dataclass(frozen=True)
class OddLines:
    """Lines that no trainer writes: how many there are, which is the first, and what is wrong with it."""

    count: int = 0
    line: int = 0
    reason: str = ""

    def and_one(self, line: int, reason: str) -> OddLines:
        return replace(self, count=self.count + 1) if self.count else OddLines(1, line, reason)

    def __str__(self) -> str:
        """Two sentences; empty when there is none."""
        if not self.count:
            return ""
        if self.count == 1:
            return f"1 line of events.jsonl can't be taken as it stands: line {self.line}, {self.reason}."
        return f"{counted(self.count, 'line')} of events.jsonl can't be taken as they stand. The first is line {self.line}: {self.reason}."


@dataclass(frozen=True)
class Place:
    """How far a file was read: enough to go on there, in this process or another."""

    offset: int = 0
    """Bytes, up to the end of a line."""
    lines: int = 0
    last_seq: int = 0
    tail: str = ""
    """The last bytes before `offset`, as hexadecimal digits: in another file they are other ones."""
    in_long_line: bool = False
    odd: OddLines = OddLines()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Place:
        return cls(**{**told, "odd": OddLines(**told["odd"])})


class EventReader:
    """Reads a file on, from wherever it stands. Not for several threads at once."""

    def __init__(self, file: Path, place: Place = Place()):
        self.file = file
        self.began_again = False
        """Whether the last look found another file, or a shorter one, and read it from its beginning."""
        self._stand(place)

    def _stand(self, place: Place) -> None:
        self.offset, self.lines, self.last_seq, self.odd = (
            place.offset,
            place.lines,
            place.last_seq,
            place.odd,
        )
        self._tail, self._in_long_line = bytes.fromhex(place.tail), place.in_long_line

    @property
    def place(self) -> Place:
        """Behind the event that was given last."""
        tail = self._tail[-TAIL_BYTES:].hex()
        return Place(self.offset, self.lines, self.last_seq, tail, self._in_long_line, self.odd)

    def pass_over(self, until: int = MOST_BYTES) -> None:
        """Read what ends at byte `until` or before, and tell nothing of it. Raises UnusableFile."""
        for _ in self.fresh(until=until):
            pass

    def fresh(self, *, until: int = MOST_BYTES) -> Iterator[dict[str, Any]]:
        """Every event behind the place, which moves on with each of them, as far as byte `until`; a last line without its end
        stays where it is.

        An event whose number does not rise gets one that does: its place in the file counts, so a number that was spoilt
        hides nothing behind it.

        Raises:
            UnusableFile: it is not a plain file, or larger than any run makes one.
        """
        self.began_again = False
        try:
            handle = Tree(self.file.parent).open(self.file)
        except FileNotFoundError:
            self._begin_again()
            return
        with handle:
            size = os.fstat(handle.fileno()).st_size
            if size > MOST_BYTES:
                raise UnusableFile(
                    f"{self.file.name} is larger than {MOST_BYTES >> 30} GiB.", "Move it away."
                )
            if not self._is_same(handle, size):
                self._begin_again()
                handle.seek(0)
            yield from self._lines(handle, until)

    def _is_same(self, handle: BinaryIO, size: int) -> bool:
        """Whether what was read is still there; `handle` then stands behind it."""
        if size < self.offset:
            return False
        tail = self._tail[-TAIL_BYTES:]
        handle.seek(self.offset - len(tail))
        return handle.read(len(tail)) == tail

    def _begin_again(self) -> None:
        self.began_again = self.offset > 0
        self._stand(Place())

    def _lines(self, handle: BinaryIO, until: int) -> Iterator[dict[str, Any]]:
        while line := handle.readline(MOST_LINE_BYTES):
            breathe()
            ends = line.endswith(b"\n")
            if (not ends and len(line) < MOST_LINE_BYTES) or self.offset + len(line) > until:
                return
            event = self._event(line, ends)
            if event is not None:
                self.last_seq = event["seq"]
            self.offset += len(line)
            self._tail = line
            if event is not None:
                yield event

    def _event(self, line: bytes, ends: bool) -> dict[str, Any] | None:
        if self._in_long_line or not ends:  # a part of a line that is longer than any event
            if not self._in_long_line:
                self.lines += 1
                self.odd = self.odd.and_one(self.lines, f"it is longer than {MOST_LINE_BYTES >> 20} MiB")
            self._in_long_line = not ends
            return None
        self.lines += 1
        event = parse_line(line)
        if event is None or event["seq"] != self.last_seq + 1 or event["kind"] not in EVENT_KINDS:
            return self._odd(line, event)
        return event

    def _odd(self, line: bytes, event: dict[str, Any] | None) -> dict[str, Any] | None:
        """What a line tells that is no event as the next one should be."""
        if self.offset == 0 and line.startswith(codecs.BOM_UTF8):  # some editors put it there
            line = line.removeprefix(codecs.BOM_UTF8)
            event = parse_line(line)
        if event is None:
            if line.strip():
                self.odd = self.odd.and_one(self.lines, what_is_wrong(line))
            return None
        if event["seq"] <= self.last_seq:
            reason = f"its `seq` is {event['seq']} behind {self.last_seq}; its place in the file counts"
            self.odd = self.odd.and_one(self.lines, reason)
            return {**event, "seq": self.last_seq + 1}
        if event["kind"] not in EVENT_KINDS and event.get("v") == EVENT_VERSION:
            self.odd = self.odd.and_one(
                self.lines, f"nobody writes events of kind {ascii(event['kind'])[:60]}"
            )
        return event


def read_events(file: Path, *, after: int = 0) -> Iterator[dict[str, Any]]:
    """Every event with `seq` above `after`, in order. A missing file has none. Raises UnusableFile."""
    return (event for event in EventReader(file).fresh() if event["seq"] > after)


def last_event(file: Path, *, most_bytes: int = 1 << 16) -> dict[str, Any] | None:
    """The newest complete event, found from the end of the file; None when there is none in its last `most_bytes`."""
    try:
        with Tree(file.parent).open(file) as handle:
            handle.seek(max(0, handle.seek(0, os.SEEK_END) - most_bytes))
            lines = handle.read(most_bytes).split(b"\n")
    except FileNotFoundError:
        return None
    return next((event for line in reversed(lines[:-1]) if (event := parse_line(line)) is not None), None)
