"""The best checkpoint of a run: told as an event whenever it changes, and left as `best.safetensors` and `best.json`.

In: what the events tell. Out: the choice (`selection.py` says how it is made) as an event, and the two files in step with it. Each
call finishes what one before it that was cut short began. Standard library only.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import json_text
from ..files import Tree
from ..run_state import RunState
from ..second_names import give_second_name
from ..selection import Choice, choose_best


def tell_best(run_dir: Path, state: RunState, write: Callable[..., Any]) -> Choice | None:
    """Choose among the checkpoints that are there, and tell it by `write("best", ...)` if it is another one than was told, or
    for another reason. None when there is no checkpoint."""
    files = Tree(run_dir)
    choice = choose_best(state.validations, [row for row in state.checkpoints if files.is_file(row["file"])])
    told = {name: (state.best or {}).get(name) for name in ("step", "file", "reason")}
    if choice and told != choice.__dict__:
        write("best", **choice.__dict__)
    return choice


def leave_best(run_dir: Path, choice: Choice) -> None:
    """Let `best.safetensors` be the chosen checkpoint and `best.json` say why. Files that are right already stay.

    Raises:
        OSError: the disk is full or can't be written.
    """
    files, link = Tree(run_dir), run_dir / "best.safetensors"
    source, told = files.plain(choice.file), json_text.write(choice.__dict__, indent=1)
    if not files.is_file(link) or not os.path.samefile(link, source):
        give_second_name(source, link, inside=files)
    if _told(files) != told:
        files.write("best.json", told)


def _told(files: Tree) -> str:
    try:
        return files.read_text("best.json")
    except OSError:
        return ""
