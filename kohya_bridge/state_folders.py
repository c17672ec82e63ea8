"""Which folders below `states/` are resume states that a trainer wrote, and which are somebody's copies.

In: a run's files, and what its events tell. Out: folders. A state has a name of ours, `step<8 digits>`, and either the events tell of
it or its own record says that very step. A copy under another step's name is none: nobody counts it, resumes from it or deletes
it. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from .files import Tree

STATE_NAME = re.compile(r"step[0-9]{8}")
RECORDS = ("state.json", "ledger.json")
"""Files of a state that say its step: the native engine's, and ours beside sd-scripts' own files."""


def states_of(files: Tree, told: Collection[str] = ()) -> list[Path]:
    """Complete states, the oldest first. `told` are the folders that the events tell of, such as `states/step00000200`."""
    return [
        each
        for each in files.entries("states")
        if STATE_NAME.fullmatch(each.name)
        and files.is_folder(each)
        and (f"states/{each.name}" in told or _said_step(files, each) == each.name)
        and not is_copy(files, each)
    ]


def is_copy(files: Tree, state: Path) -> bool:
    """Whether a folder's own record says that it is the state of another step."""
    said = _said_step(files, state)
    return bool(said) and said != state.name


def _said_step(files: Tree, state: Path) -> str:
    """The name that a state's record gives it; empty where there is none that can be read."""
    for name in RECORDS:
        try:
            told = files.read_json(state / name)
        except OSError:
            continue
        step = told.get("step") if isinstance(told, dict) else None
        if type(step) is int and 0 <= step < 10**8:
            return f"step{step:08d}"
    return ""
