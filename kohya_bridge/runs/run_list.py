"""RunList: one line about every run of the workspace, fast enough to ask for at any moment.

In: a workspace. Out: `RunLine`s, newest first. A run is read again only where its event file grew, from the byte where
the last reading ended; what was read is kept in `cache/run_list.json`, so that a restarted ComfyUI need not read all
runs again. It starts nothing and changes no run.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..engine_names import ENGINES
from ..errors import BridgeError, StorageError, UnusableFile
from ..events import read_events_from
from ..files import Tree
from ..plan import TrainingPlan
from ..run_folder import RunFolder
from ..run_state import RunState, fold
from ..workspace import Workspace

log = logging.getLogger(__name__)
CACHE_VERSION = 2
CACHE_BYTES = 1 << 30
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
            "state": state,
            "counts": {**counts, "checkpoints": len(checkpoints), "samples": len(samples)},
            "updated": self.state.updated or self.created,
        }


@dataclass
class _Reading:
    """Where the last reading of a run ended and what it had told until then."""

    size: int
    mtime_ns: int
    offset: int
    line: RunLine
    encoded: str

    @property
    def problem(self) -> str:
        return str(self.line.plan.get("problem", ""))


class RunList:
    """All runs of one workspace. Safe to use from several threads; one reads, the others wait."""

    def __init__(self, workspace: Workspace):
        self._workspace = workspace
        self._lock = threading.Lock()
        self._readings: dict[str, _Reading] | None = None

    @property
    def cache_file(self) -> Path:
        return self._workspace.cache_dir / "run_list.json"

    def lines(self) -> list[RunLine]:
        """Every run, newest first. A run whose plan can't be read is listed with what its folder tells."""
        with self._lock:
            return [reading.line for reading in self._refreshed()]

    def encoded(self) -> str:
        """`lines()` as one JSON array; unchanged runs are not encoded again."""
        with self._lock:
            return "[" + ",".join(reading.encoded for reading in self._refreshed()) + "]"

    def _refreshed(self) -> list[_Reading]:
        if self._readings is None:
            self._readings = self._kept_readings()
        known, found, fresh = self._readings, {}, 0
        for key, folder in self._workspace.run_names():
            before = known.get(key)
            size, mtime_ns = _stamp(f"{folder}/events.jsonl")
            told_more = before is None or (before.size, before.mtime_ns) != (size, mtime_ns)
            # What is wrong may be mended without a new event: such a run is looked at each time.
            if before is None or told_more or before.problem:
                before = _read_or_tell(RunFolder(Path(folder)), before, size, mtime_ns)
                fresh += told_more
            found[key] = before
        self._readings = found
        if fresh >= WORTH_KEEPING:
            self._keep(found)
        return sorted(found.values(), key=lambda each: (-each.line.created, each.line.run_id))

    def _kept_readings(self) -> dict[str, _Reading]:
        """What the cache file holds; nothing where it is missing, damaged or of another version."""
        try:
            kept = Tree(self._workspace.cache_dir).read_json(self.cache_file, most=CACHE_BYTES)
            if kept["version"] != CACHE_VERSION:
                return {}
            return {key: _revived(key, row) for key, row in kept["runs"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}

    def _keep(self, readings: dict[str, _Reading]) -> None:
        rows = {
            key: {
                "size": each.size,
                "mtime_ns": each.mtime_ns,
                "offset": each.offset,
                "slug": each.line.slug,
                "created": each.line.created,
                "plan": each.line.plan,
                "state": each.line.state.to_json(),
            }
            for key, each in readings.items()
        }
        try:
            told = json.dumps({"version": CACHE_VERSION, "runs": rows})
            Tree(self._workspace.cache_dir).write(self.cache_file, told)
        except StorageError:
            pass  # a full disk costs speed at the next start, nothing else


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


def _read_or_tell(run: RunFolder, before: _Reading | None, size: int, mtime_ns: int) -> _Reading:
    """A reading; of a run that can't be read, a line that says so in its place among the others."""
    try:
        return _read(run, before, size, mtime_ns)
    except Exception as error:  # an edge between runs: one strange folder must not cost the list
        problem = error.problem if isinstance(error, BridgeError) else f"It can't be read: {error}"[:300]
        if before is None or before.problem != problem:
            log.warning("Run %s can't be read.", run.run_id, exc_info=not isinstance(error, BridgeError))
        line = RunLine(run.run_id, run.slug, 0.0, _unread(run, problem), RunState())
        return _Reading(size, mtime_ns, 0, line, json.dumps(line.to_json()))


def _read(run: RunFolder, before: _Reading | None, size: int, mtime_ns: int) -> _Reading:
    """Fold what was appended since `before`; a file that shrank is read from its beginning."""
    goes_on = before is not None and before.offset <= size and not before.problem
    offset = before.offset if before and goes_on else 0
    state = before.line.state if before and goes_on else RunState()
    events, unreadable = [], {}
    try:
        for event, behind in read_events_from(run.events_file, offset):
            events.append(event)
            offset = behind
    except UnusableFile as error:
        unreadable = {"problem": error.problem}
    state = replace(fold(events, state), losses=())
    if before and goes_on:
        line = replace(before.line, state=state, plan={**before.line.plan, **unreadable})
    else:
        told = {**unreadable, **_plan_line_of(run)}
        line = RunLine(run.run_id, run.slug, run.planned, told, state)
    return _Reading(size, mtime_ns, offset, line, json.dumps(line.to_json(), ensure_ascii=False))


def _plan_line_of(run: RunFolder) -> dict[str, Any]:
    try:
        return plan_line(run.plan())
    except BridgeError as error:
        return _unread(run, error.problem)
    except OSError as error:
        return _unread(run, f"plan.yaml can't be read: {error.strerror or error}.")


def _unread(run: RunFolder, problem: str) -> dict[str, Any]:
    nothing = {name: "" for name in ("base_model", "family", "engine", "engine_title", "preset")}
    return {"character": run.slug, "dataset": run.slug, **nothing, "steps": 0, "problem": problem}


def _revived(key: str, row: dict[str, Any]) -> _Reading:
    series: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in row["state"].items()
    }
    line = RunLine(key.rpartition("/")[2], row["slug"], row["created"], row["plan"], RunState(**series))
    encoded = json.dumps(line.to_json(), ensure_ascii=False)
    return _Reading(row["size"], row["mtime_ns"], row["offset"], line, encoded)


def _stamp(file: str) -> tuple[int, int]:
    try:
        stat = os.lstat(file)
    except FileNotFoundError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns
