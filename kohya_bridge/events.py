"""Events: the durable story of a run, one JSON object a line in `events.jsonl`.

In: a kind and its fields, from the one process that owns the file at that moment (the trainer child; the desk only
while no child lives). Out: numbered lines that a panel, a shell, a restarted ComfyUI and a test all read alike.
Standard library only: the sd-scripts interpreter imports this file. How the lines are read is `event_reader`'s job, what they
mean together `run_state`'s.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import json_text
from .event_reader import EventReader
from .event_shape import EVENT_KINDS, EVENT_VERSION
from .files import Tree


def encode(event: dict[str, Any]) -> str:
    """One line of `events.jsonl`, newline included."""
    return json_text.write(event, ensure_ascii=False, separators=(",", ":")) + "\n"


class EventLog:
    """The writing end of `events.jsonl`. Thread-safe; every line is complete before the call returns.

    Opening it mends what a killed writer left: a torn last line is cut off and numbering goes on after the last
    event. Whole lines stay, whatever they hold. `sync=True` events (checkpoints, states, the end) are flushed to the disk itself.
    """

    def __init__(
        self,
        file: Path,
        *,
        clock: Callable[[], float] = time.time,
        listener: Callable[[dict[str, Any]], None] | None = None,
    ):
        """`listener` is called with each event once it is on disk; it must not raise."""
        self.file = Path(file)
        self._clock = clock
        self._listener = listener
        self._lock = threading.Lock()
        self._handle = Tree(self.file.parent).append(self.file)
        self.seq = self._mend()

    def _mend(self) -> int:
        reader = EventReader(self.file)
        for _ in reader.fresh():
            pass
        if os.fstat(self._handle.fileno()).st_size > reader.offset:
            self._handle.truncate(reader.offset)
        if reader.place.in_long_line:
            self._handle.write(b"\n")
        return reader.last_seq

    def write(self, kind: str, *, sync: bool = False, **fields: Any) -> dict[str, Any]:
        """Append one event and return it. `kind` must be one of `EVENT_KINDS`."""
        if kind not in EVENT_KINDS:
            raise ValueError(f"unknown event kind {kind!r}")
        with self._lock:
            self.seq += 1
            event = {
                "v": EVENT_VERSION,
                "seq": self.seq,
                "time": round(self._clock(), 3),
                "kind": kind,
                **fields,
            }
            self._append(encode(event).encode("utf-8"))
            if sync:
                os.fsync(self._handle.fileno())
        if self._listener is not None:
            self._listener(event)
        return event

    def _append(self, line: bytes) -> None:
        """Write the whole line or nothing: a full disk may take a part of it, and then leave room for the next."""
        end = os.fstat(self._handle.fileno()).st_size
        try:
            written = self._handle.write(line)
            if written != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            self.seq -= 1
            os.ftruncate(self._handle.fileno(), end)
            raise

    def close(self) -> None:
        self._handle.close()
