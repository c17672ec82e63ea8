"""What a trainer leaves on the disk: LoRA files and resume states, whole under their names or not there at all.

In: a run folder, and what its events tell so far. Out: files that take their place in one step, and the leavings of a trainer
that was killed put in order. Everything here may be cut short after any line; the next attempt finishes or undoes it. Only
names that this module gives are touched: a person's own copies beside them stay. Standard library only.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .. import disk
from ..files import Tree
from ..models.lora_check import lora_problems

CHECKPOINT_NAME = re.compile(r"(?P<name>.+)-step(?P<step>[0-9]{8})-(?P<hash>[0-9a-f]{8})\.safetensors")
_HALF_RECORDED = re.compile(r"\.(?:run|child|stopping|plan|choices)\.(?:json|yaml)\.[0-9a-f]+\.tmp")
PARTIAL = ".partial-"
"""Begins the name of whatever is not complete yet, or not quite gone."""
_UNFINISHED = re.compile(
    r"\.partial-(?:(?:removed-)?step[0-9]{8}|[0-9]+(?:\.\w+)?)|\.writing[\w-]*\.safetensors(?:\.part)?"
)
_HALF_WRITTEN = re.compile(r"\.(?:losses|best|environment|timings)\.(?:json|safetensors)\.[0-9a-f]+\.tmp")


def place_checkpoint(files: Tree, written: Path, *, name: str, step: int) -> tuple[Path, str]:
    """Give a complete LoRA file its name, with its content on the disk itself before that. Returns the file and its SHA-256.

    The name carries the content's hash, so that no loader which caches by path serves old weights.
    """
    digest = file_digest(files, written)
    target = files.path(f"checkpoints/{name}-step{step:08d}-{digest[:8]}.safetensors")
    _sync(files, written)
    files.move(written, target)
    return target, digest


def file_digest(files: Tree, file: Path | str) -> str:
    """SHA-256 of a file in hex. Raises OSError."""
    digest = hashlib.sha256()
    with files.open(file) as stream:
        while block := stream.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def remove_namesakes(files: Tree, kept: Path) -> None:
    """Remove the other files of the same step: made anew, a LoRA may have another hash by the times in its metadata."""
    for each in files.entries(kept.parent):
        if each != kept and _are_namesakes(each.name, kept.name):
            files.clear(each)


@contextmanager
def state_folder(files: Tree, step: int) -> Iterator[Path]:
    """A folder to fill with a resume state. It gets its real name, and is safe on the disk, when the block ends without an error."""
    final = files.path(f"states/step{step:08d}")
    partial = final.with_name(PARTIAL + final.name)
    files.clear(partial)
    files.make(partial)
    try:
        yield partial
        for each in sorted(partial.rglob("*")):
            if each.is_file():
                _sync(files, each)
        if files.is_folder(final):
            _set_aside(files, final)
        files.move(partial, final)
    finally:  # a full disk needs its room at once
        for each in (partial, _aside(final)):
            with suppress(OSError):
                files.clear(each)


def remove_state(files: Tree, state: Path) -> None:
    """Delete a state; what is left of it when that is cut short bears no state's name. One that can't be deleted stays."""
    with suppress(OSError):
        _set_aside(files, state)
        files.clear(_aside(state))


def _set_aside(files: Tree, state: Path) -> None:
    files.clear(_aside(state))
    files.move(state, _aside(state))


def _aside(state: Path) -> Path:
    return state.with_name(f"{PARTIAL}removed-{state.name}")


def remove_unfinished(files: Tree) -> None:
    """Remove what an attempt that was killed in mid-write left under names of its own."""
    made = [*files.entries("checkpoints"), *files.entries("states")]
    unfinished = [each for each in made if _UNFINISHED.fullmatch(each.name)]
    for each in [*unfinished, *(each for each in files.entries() if _HALF_WRITTEN.fullmatch(each.name))]:
        with suppress(OSError):
            files.clear(each)


def clear_leftovers(files: Tree) -> None:
    """The same for whoever settles a run: nobody trains it, and who holds the slot's lock alone writes its other records."""
    remove_unfinished(files)
    for each in files.entries():
        if _HALF_RECORDED.fullmatch(each.name):
            with suppress(OSError):
                files.clear(each)


def untold_checkpoints(files: Tree, rows: tuple[dict[str, Any], ...]) -> list[tuple[int, str, Path]]:
    """`(step, digest, file)` of sound checkpoints that no row names, as a kill between a file and its event leaves them.

    One whose step has a row with its file in place is removed: it was made again.
    """
    there = {row["step"]: row["file"] for row in rows if files.is_file(row["file"])}
    told, found = {Path(file).name for file in there.values()}, []
    for file in files.entries("checkpoints"):
        named = CHECKPOINT_NAME.fullmatch(file.name)
        if not named or file.name in told or file.is_symlink() or not files.is_file(file):
            continue
        step, digest = int(named["step"]), file_digest(files, file)
        if not digest.startswith(named["hash"]) or lora_problems(file, steps=step):
            continue  # not as we left it: not ours to judge
        if step not in there:
            found.append((step, digest, file))
        elif _are_namesakes(file.name, Path(there[step]).name):
            files.clear(file)
    return found


def _are_namesakes(one: str, other: str) -> bool:
    first, second = CHECKPOINT_NAME.fullmatch(one), CHECKPOINT_NAME.fullmatch(other)
    return bool(first and second and first.group("name", "step") == second.group("name", "step"))


def _sync(files: Tree, file: Path) -> None:
    """Let the disk itself have a file's content, so that a power cut can't leave a name with nothing in it; and the person's umask
    its permissions, whatever library wrote it."""
    with files.append(file) as stream:
        disk.give_usual_mode(stream.fileno())
        os.fsync(stream.fileno())
