"""Several processes under `accelerate launch`: rank 0 speaks and decides, the others follow.

In: what rank 0 read from the run folder. Out: the same on every rank, so that all take part in a save or a stop together.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def rank() -> int:
    return int(os.environ.get("RANK", "0") or 0)


def world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1") or 1)


def agree(value: Any) -> Any:
    """Rank 0's `value` on every rank. With one process it is returned as it is."""
    if world_size() == 1:
        return value
    import torch.distributed as distributed

    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


class QuietLog:
    """An event log of a rank that does not speak."""

    def write(self, kind: str, *, sync: bool = False, **fields: Any) -> dict[str, Any]:
        return {"kind": kind, **fields}


class QuietReporter:
    """The reporter of a rank above 0: keeps the step, writes nothing. Upstream saves on rank 0 only."""

    def __init__(self, run_dir: Path):
        self.run_dir = run_dir
        self.log = QuietLog()
        self.step = 0
        self.total = 0

    def started(self, *, total: int, resumed_from: int = 0, **_: Any) -> None:
        self.step, self.total = resumed_from, total

    def progress(self, step: int, **_: Any) -> None:
        self.step = step

    def phase(self, name: str, **_: Any) -> None: ...

    def notice(self, problem: str, fix: str = "", **_: Any) -> None: ...

    def checkpoint(self, written: Path, step: int, **_: Any) -> Path:
        return written

    def state(self, step: int, **_: Any) -> None: ...

    @contextmanager
    def state_folder(self, step: int) -> Iterator[Path]:
        yield self.run_dir / "states" / f".partial-rank{rank()}"
