"""The experiment log as a table: one row for each attempt that `experiments.jsonl` tells of, newest last.

In: a workspace. Out: rows of plain values and the columns to show. Lines that can't be read are counted, never fatal: the log
is a file that people edit.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .. import json_text
from ..files import Tree
from ..package import packages_of
from ..run_folder import RunFolder
from ..workspace import RUN_ID, Workspace

LOG_BYTES = 1 << 30
MOST_LETTERS = 300
"""Of one cell."""
COLUMNS = (
    "when", "run", "character", "outcome", "steps", "minutes", "base", "engine", "rank", "rate", "loss",
    "held-out", "best step", "package",
)  # fmt: skip


@dataclass(frozen=True)
class ExperimentTable:
    """Rows in `COLUMNS` order, and how many lines could not be read."""

    rows: tuple[tuple[str, ...], ...]
    unreadable: int


def experiment_table(workspace: Workspace, *, character: str = "") -> ExperimentTable:
    """The whole log, or one character's part of it."""
    lines, unreadable = read_experiments(workspace)
    folders = {each.name: RunFolder(each) for each in workspace.run_dirs()}
    rows = [
        _row(folders.get(line["run_id"]), line)
        for line in lines
        if not character or line.get("character") == character
    ]
    return ExperimentTable(tuple(rows), unreadable)


def read_experiments(workspace: Workspace) -> tuple[list[dict[str, Any]], int]:
    """The lines of `experiments.jsonl` that hold a run, and how many do not."""
    try:
        text = Tree(workspace.root).read_text(workspace.experiments_file, most=LOG_BYTES, errors="replace")
    except FileNotFoundError:
        return [], 0
    experiments, unreadable = [], 0
    for line in filter(str.strip, text.splitlines()):
        try:
            data = json_text.read(line)
        except (ValueError, RecursionError):
            data = None
        if isinstance(data, dict) and RUN_ID.fullmatch(str(data.get("run_id", ""))):
            experiments.append(data)
        else:
            unreadable += 1
    return experiments, unreadable


def _row(run: RunFolder | None, line: dict[str, Any]) -> tuple[str, ...]:
    settings, base = _mapping(line.get("settings")), _mapping(line.get("base_model"))
    values = (
        _when(line.get("time")),
        line["run_id"],
        line.get("character"),
        line.get("outcome"),
        _steps(line.get("steps")),
        _number(line.get("duration_s"), 1, divided_by=60),
        base.get("name"),
        line.get("engine"),
        settings.get("network_dim"),
        settings.get("unet_lr"),
        _number(line.get("loss_ema"), 4),
        _number(line.get("validation_loss"), 4),
        line.get("best_step"),
        _package(run),
    )
    return tuple("" if value is None else str(value)[:MOST_LETTERS] for value in values)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _steps(value: Any) -> str | None:
    first, last = (value[0], value[-1]) if isinstance(value, list) and value else (None, None)
    return f"{first}-{last}" if first else None if last is None else str(last)


def _package(run: RunFolder | None) -> str | None:
    """Looked up, not logged: a run is packaged after its line was written."""
    packaged = packages_of(run) if run else []
    return str(packaged[-1]["name"]) if packaged else None


def _when(seconds: Any) -> str:
    try:
        return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")
    except (TypeError, ValueError, OverflowError, OSError):  # no number, or no time that has a date
        return ""


def _number(value: Any, digits: int, *, divided_by: float = 1.0) -> str | None:
    if not isinstance(value, (int, float)) or abs(value) > 1e300:
        return None
    return f"{value / divided_by:.{digits}f}"
