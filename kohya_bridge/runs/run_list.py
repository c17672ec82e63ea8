"""RunList: one line about every run of the workspace, fast enough to ask for at any moment.

In: a workspace. Out: `RunLine`s, newest first. A run is read again only where its event file grew, from the byte where
the last reading ended; what was read is kept in `cache/run_list.json`, so that a restarted ComfyUI need not read all
runs again. It starts nothing and changes no run.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any

from .. import json_text
from ..breathing import breathe
from ..engine_names import ENGINES
from ..errors import BridgeError, StorageError, UnusableFile
from ..event_reader import OddLines, Place
from ..files import Tree, read_sealed, write_sealed
from ..plan import TrainingPlan
from ..reasons import reason_of
from ..run_folder import RunFolder
from ..run_state import RunState
from ..state_reader import StateReader
from ..workspace import Workspace
from .mending import LastLooks

log = logging.getLogger(__name__)
CACHE_VERSION = 4
RunNames = Iterable[tuple[str, str]]
WORTH_KEEPING = 20
"""So many fresh readings make it worth writing the cache file."""


@dataclass(frozen=True)
class RunLine:
    """What a list shows of a run. `state` has every field but `losses`; `created` is the plan's file time."""

    run_id: str
    slug: str
    created: float
    plan: dict[str, Any]
    state: RunState
    odd: OddLines = field(default_factory=OddLines)
    """Of its events."""

    def to_json(self) -> dict[str, Any]:
        state = self.state.to_json()
        counts = {name: len(state.pop(name)) for name in ("validations", "states", "notices")}
        checkpoints, samples = state.pop("checkpoints"), state.pop("samples")
        state.pop("losses")
        return {
            "run_id": self.run_id,
            "slug": self.slug,
            "created": self.created,
            **self.plan,
            **({"odd_lines": str(self.odd)} if self.odd.count else {}),
            "state": state,
            "counts": {**counts, "checkpoints": len(checkpoints), "samples": len(samples)},
            "updated": self.state.updated or self.created,
        }


@dataclass
class _Reading:
    """Where the last reading of a run ended and what it had told until then."""

    size: int
    mtime_ns: int
    reader: StateReader
    place: Place
    """Of the reader when `line` was told by it: another thread may have read on since."""
    line: RunLine
    encoded: bytes

    @cached_property
    def order(self) -> tuple[float, str]:
        """The newest first."""
        return -self.line.created, self.line.run_id

    @classmethod
    def of(cls, size: int, mtime_ns: int, reader: StateReader, line: RunLine) -> _Reading:
        encoded = json_text.write(line.to_json(), ensure_ascii=False).encode("utf-8")
        return cls(size, mtime_ns, reader, reader.place, line, encoded)

    @property
    def problem(self) -> str:
        return str(self.line.plan.get("problem", ""))


class RunList:
    """All runs of one workspace. Safe to use from several threads: a run that one of them reads is read by no other meanwhile."""

    def __init__(self, workspace: Workspace):
        self._workspace = workspace
        self._lock = threading.Lock()
        self._looks = LastLooks()
        self._readings: dict[str, _Reading] | None = None
        self._order: tuple[list[tuple[float, str]], list[int]] = [], []

    @property
    def cache_file(self) -> Path:
        return self._workspace.cache_dir / "run_list.json"

    def lines(self, slug: str | None = None) -> list[RunLine]:
        """Every run (of one `slug` where it is given), newest first. A run whose plan can't be read is listed with what its
        folder tells."""
        return [reading.line for reading in self._refreshed(slug)]

    def encoded(self, names: RunNames | None = None, *, before: bytes = b"", behind: bytes = b"") -> bytes:
        """`lines()` as one JSON array; unchanged runs are not encoded again. `names` are the workspace's, if they are at hand.

        `before` and `behind` go out with it: megabytes are put together once.
        """
        readings = self._refreshed(names=names)
        breathe()
        told = [reading.encoded for reading in readings] or [b""]
        breathe()
        told[0] = before + b"[" + told[0]
        told[-1] += b"]" + behind
        return b",".join(told)

    def _refreshed(self, slug: str | None = None, names: RunNames | None = None) -> list[_Reading]:
        found, fresh = {}, 0
        with self._lock:
            known = self._readings = self._kept_readings() if self._readings is None else self._readings
        for key, folder in self._workspace.run_names(slug) if names is None else names:
            breathe()
            with (
                self._lock
            ):  # for one run at a time: nobody who asks for a single one waits until all are read
                found[key], told_more = _looked_at(folder, known.get(key), self._looks)
                known[key] = found[key]
            fresh += told_more
        if slug is None:
            breathe()
            self._forget_all_but(found)
            breathe()
            if fresh >= WORTH_KEEPING:
                self._keep(found)
        return self._in_order(slug, list(found.values()))

    def _in_order(self, slug: str | None, found: list[_Reading]) -> list[_Reading]:
        """The newest first. Of all runs the order is kept: sorting thousands takes milliseconds, and it rarely changes."""
        if slug is not None:
            return sorted(found, key=attrgetter("order"))
        orders = [each.order for each in found]
        breathe()
        known, places = self._order
        if orders != known:
            places = sorted(range(len(orders)), key=orders.__getitem__)
            self._order = orders, places
        breathe()
        return [found[at] for at in places]

    def _forget_all_but(self, found: dict[str, _Reading]) -> None:
        with self._lock:
            for key in (self._readings or {}).keys() - found.keys():
                del (self._readings or {})[key]

    def _kept_readings(self) -> dict[str, _Reading]:
        """What the cache file holds; nothing where it is missing, damaged or of another version."""
        kept = read_sealed(Tree(self._workspace.cache_dir), self.cache_file, version=CACHE_VERSION) or {}
        there = ((key, Path(folder)) for key, folder in self._workspace.run_names())
        return {key: _revived(folder, kept[key]) for key, folder in there if key in kept}

    def _keep(self, readings: dict[str, _Reading]) -> None:
        rows = {
            key: {
                "size": each.size,
                "mtime_ns": each.mtime_ns,
                "place": each.place.to_json(),
                "created": each.line.created,
                "plan": each.line.plan,
                "state": each.line.state.to_json(),
            }
            for key, each in readings.items()
        }
        with suppress(StorageError):  # a full disk costs speed at the next start, nothing else
            write_sealed(Tree(self._workspace.cache_dir), self.cache_file, rows, version=CACHE_VERSION)


def plan_line(plan: TrainingPlan) -> dict[str, Any]:
    """The few facts of a plan that a list shows."""
    return {
        "character": plan.character,
        "dataset": plan.dataset.slug,
        "base_model": plan.base_model.name,
        "family": plan.base_model.family,
        "engine": plan.engine,
        "engine_title": ENGINES[plan.engine].title,
        "preset": plan.preset,
        "steps": plan.settings.max_train_steps,
    }


def _looked_at(folder: str, before: _Reading | None, looks: LastLooks) -> tuple[_Reading, bool]:
    """The reading of a run as it is now, and whether it told something since `before`."""
    size, mtime_ns = _stamp(f"{folder}/events.jsonl")
    if before is not None and (before.size, before.mtime_ns) == (size, mtime_ns):
        # What is wrong may be mended without a new event.
        if not before.problem or not looks.may_be_mended(folder):
            return before, False
        return _read_or_tell(RunFolder(Path(folder)), before, size, mtime_ns), False
    return _read_or_tell(RunFolder(Path(folder)), before, size, mtime_ns), True


def _read_or_tell(run: RunFolder, before: _Reading | None, size: int, mtime_ns: int) -> _Reading:
    """A reading; of a run that can't be read, a line that says so in its place among the others."""
    try:
        return _read(run, before, size, mtime_ns)
    except Exception as error:  # an edge between runs: one strange folder must not cost the list
        problem = (
            error.problem
            if isinstance(error, BridgeError)
            else f"It can't be read: {reason_of(error)}."[:300]
        )
        if before is None or before.problem != problem:
            log.warning("Run %s can't be read.", run.run_id, exc_info=not isinstance(error, BridgeError))
        line = RunLine(run.run_id, run.slug, 0.0, _unread(run, problem), RunState())
        return _Reading.of(size, mtime_ns, _reader(run), line)


def _reader(run: RunFolder, place: Place = Place(), state: RunState = RunState()) -> StateReader:
    return StateReader(run.events_file, with_losses=False, place=place, state=state)


def _read(run: RunFolder, before: _Reading | None, size: int, mtime_ns: int) -> _Reading:
    """Fold what was appended since `before`."""
    goes_on = before is not None and not before.problem
    reader = before.reader if before and goes_on else _reader(run)
    unreadable = {}
    try:
        reader.look()
    except UnusableFile as error:
        unreadable = {"problem": error.problem}
    if before and goes_on and not reader.began_again:
        line = replace(
            before.line, state=reader.state, plan={**before.line.plan, **unreadable}, odd=reader.odd
        )
    else:
        told = {**unreadable, **_plan_line_of(run)}
        line = RunLine(run.run_id, run.slug, run.planned, told, reader.state, reader.odd)
    return _Reading.of(size, mtime_ns, reader, line)


def _plan_line_of(run: RunFolder) -> dict[str, Any]:
    try:
        return plan_line(run.plan())
    except BridgeError as error:
        return _unread(run, error.problem)
    except OSError as error:
        return _unread(run, f"plan.yaml can't be read: {reason_of(error)}.")


def _unread(run: RunFolder, problem: str) -> dict[str, Any]:
    nothing = {name: "" for name in ("base_model", "family", "engine", "engine_title", "preset")}
    return {"character": run.slug, "dataset": run.slug, **nothing, "steps": 0, "problem": problem}


def _revived(folder: Path, row: dict[str, Any]) -> _Reading:
    series: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in row["state"].items()
    }
    run, state = RunFolder(folder), RunState(**series)
    reader = _reader(run, Place.from_json(row["place"]), state)
    line = RunLine(run.run_id, run.slug, row["created"], row["plan"], state, reader.odd)
    return _Reading.of(row["size"], row["mtime_ns"], reader, line)


def _stamp(file: str) -> tuple[int, int]:
    try:
        stat = os.lstat(file)
    except FileNotFoundError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns
