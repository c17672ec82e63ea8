"""Events: the durable story of a run, one JSON object a line in `events.jsonl`.

In: a kind and its fields, from the one process that owns the file at that moment (the trainer child; the desk only
while no child lives). Out: numbered lines that a panel, a shell, a restarted ComfyUI and a test all read alike.
Standard library only: the sd-scripts interpreter imports this file. What the lines mean together is `run_state`'s job.
"""

from __future__ import annotations

import errno
import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .breathing import breathe
from .errors import UnusableFile
from .event_shape import parse_line
from .files import Tree

EVENT_VERSION = 1
MOST_LINE_BYTES = 4 << 20
MOST_BYTES = 4 << 30

EVENT_KINDS: dict[str, str] = {
    "queued": "The desk put the run in line for the GPU slot: `position`.",
    "run_started": "An attempt begins: `attempt`, `engine`, `pid`, `total`, `resumed_from` (step, 0 for a fresh start).",
    "phase": "What the child is doing: `name` (loading, caching, training, validating, saving), `done` and `total`.",
    "progress": "One optimizer step: `step`, `total`, `epoch`, `loss`, `loss_ema`, `lr` (name to value), "
    "`seconds_per_step`, `eta_s`, `vram_gib`.",
    "validation": "Held-out measure at fixed noise and timesteps: `step`, `loss`, `loss_low`, `loss_high` (95 % interval "
    "over items), `psnr` (dB, one-step x0), `train_loss` (same measure on as many training items), `items`, `cells` (losses of "
    "each item and timestep, where the engine tells them), `measured_on` (digest of what it was measured on).",
    "checkpoint": "A LoRA file is complete on disk: `step`, `file` (relative to the run folder), `sha256`, `bytes`, `final`.",
    "state": "A full resume state is complete on disk: `step`, `dir` (relative), `removed` (older states deleted).",
    "sample": "A picture was rendered: `step`, `file` (relative), `prompt`, `seed`.",
    "best": "The chosen checkpoint changed: `step`, `file`, `reason`.",
    "notice": "Something a person should know: `level` (info, warning, error), `problem`, `fix`, `code`.",
    "control": "A request was taken up: `action` (stop, pause, resume, lend, take_back, checkpoint, sample), `stage` "
    "(acknowledged, done); of take_back also the `reason`.",
    "run_finished": "The attempt is over: `outcome` (completed, stopped, failed), `step`, `problem`, `fix`, `evidence`, "
    "`code` (a short name of the cause).",
}


def plain(value: Any) -> Any:
    """JSON has no NaN; a non-finite number becomes the string that Python prints for it, so that no reader breaks."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value


def encode(event: dict[str, Any]) -> str:
    """One line of `events.jsonl`, newline included."""
    return json.dumps(plain(event), ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n"


def decode(line: str | bytes) -> dict[str, Any] | None:
    """The event on a line, or None for a torn, foreign or misshapen one (a process killed in mid-write leaves one)."""
    return parse_line(line)


def read_events(file: Path, *, after: int = 0) -> Iterator[dict[str, Any]]:
    """Every event with `seq` above `after`, in order. A missing file has none; torn lines are passed over."""
    for event, _ in read_events_from(file, 0):
        if event["seq"] > after:
            yield event


def read_events_from(file: Path, offset: int) -> Iterator[tuple[dict[str, Any], int]]:
    """Events that start at byte `offset`, each with the offset behind it; stops before an unfinished last line.

    Raises:
        UnusableFile: it is no plain file, or larger than any run makes one.
    """
    try:
        handle = Tree(file.parent).open(file)
    except FileNotFoundError:
        return
    with handle:
        if os.fstat(handle.fileno()).st_size > MOST_BYTES:
            raise UnusableFile(f"{file.name} is larger than {MOST_BYTES >> 30} GiB.", "Move it away.")
        handle.seek(offset)
        is_rest = False  # of a line that is longer than any event
        while line := handle.readline(MOST_LINE_BYTES):
            breathe()
            if not line.endswith(b"\n") and len(line) < MOST_LINE_BYTES:
                return
            offset += len(line)
            event = None if is_rest else decode(line)
            is_rest = not line.endswith(b"\n")
            if event is not None:
                yield event, offset


def last_event(file: Path, *, most_bytes: int = 1 << 16) -> dict[str, Any] | None:
    """The newest complete event, found from the end of the file; None when there is none in its last `most_bytes`."""
    try:
        with Tree(file.parent).open(file) as handle:
            handle.seek(max(0, handle.seek(0, os.SEEK_END) - most_bytes))
            lines = handle.read().split(b"\n")
    except FileNotFoundError:
        return None
    return next((event for line in reversed(lines[:-1]) if (event := decode(line)) is not None), None)


class EventLog:
    """The writing end of `events.jsonl`. Thread-safe; every line is complete before the call returns.

    Opening it mends what a killed writer left: a torn last line is cut off and numbering goes on after the last
    complete event. `sync=True` events (checkpoints, states, the end) are flushed to the disk itself.
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
        last_seq, end = 0, 0
        for event, offset in read_events_from(self.file, 0):
            last_seq, end = max(last_seq, event["seq"]), offset
        if os.fstat(self._handle.fileno()).st_size > end:
            self._handle.truncate(end)
        return last_seq

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
