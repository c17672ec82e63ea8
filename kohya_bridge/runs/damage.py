"""Damage: what in a run's folder can't be read as what it should be, and how it is put out of the way.

In: a run. Out: a `Damage` for each of its files and folders that is cut, foreign, a link or a pipe, with what a person can do;
and, when asked to mend, the same things moved below `damaged/` of the folder, where nobody looks for them. Nothing is deleted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from ..errors import BridgeError
from ..event_reader import EventReader, OddLines
from ..files import Tree
from ..reasons import reason_of
from ..run_folder import RunFolder
from ..validation.manifest import MANIFEST_NAME, readable_manifest
from . import held_prompt, unattended

PLAN = "plan.yaml"
KEPT_BELOW = "damaged"
MAPPINGS = ("child.json", "best.json", "environment.json", "lending.json", "losses.json", "choices.json")
FOLDERS = ("control", "checkpoints", "states", "samples", "held_prompts", "staging", "package")
_MEND = "Mend the run: it is put aside, and the rest of the run stays."


@dataclass(frozen=True)
class Damage:
    """One thing that can't be used. Without its plan a run can only be looked at and deleted."""

    file: str
    problem: str
    fix: str
    can_be_mended: bool = True
    is_a_part: bool = False
    """Whether the rest of the file counts, and nothing needs to be done."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def damages_of(run: RunFolder, odd: OddLines | None = None) -> list[Damage]:
    """Everything in this run's folder that can't be used, the plan first. It reads every small record, and the events where
    nobody who has read them gives their `odd` lines."""
    lines = _lines(run, odd)
    return [
        *_plan(run),
        *_records(run),
        *_streams(run),
        *lines,
        *_folders(run),
        *_prompts(run),
        *_packages(run),
        *_grids(run),
    ]


def mend(run: RunFolder) -> list[str]:
    """Put what is damaged out of the way and return its names. The plan stays. Raises StorageError."""
    tree, stamp = Tree(run.dir), time.strftime("%Y%m%d-%H%M%S")
    moved = [each.file for each in damages_of(run) if each.can_be_mended]
    for name in moved:
        tree.move(name, f"{KEPT_BELOW}/{stamp}-{name.replace('/', '-')}")
    return moved


def _plan(run: RunFolder) -> Iterator[Damage]:
    fix = "Submit the same training again, which writes it anew; or bring a copy back; or delete the run."
    try:
        plan = run.plan()
    except (BridgeError, OSError) as error:
        problem = (
            error.problem if isinstance(error, BridgeError) else f"{PLAN} can't be read: {reason_of(error)}."
        )
        yield Damage(PLAN, problem, fix, can_be_mended=False)
        return
    if (plan.character, plan.run_id) != (run.slug, run.run_id):  # also one that was cut where it still reads
        problem = (
            f"{PLAN} is not the one that this run was made from: it gives {plan.character}/{plan.run_id}."
        )
        yield Damage(PLAN, problem, fix, can_be_mended=False)


def _records(run: RunFolder) -> Iterator[Damage]:
    tree = Tree(run.dir)
    checks: dict[str, Callable[[], Any]] = {
        "run.json": run.identity,
        "unattended.json": lambda: unattended.read_any(run),
        "stopping.json": partial(_read_as, list, tree, "stopping.json"),
        **{name: partial(_read_as, dict, tree, name) for name in MAPPINGS},
    }
    for name, read in checks.items():
        if os.path.lexists(run.dir / name):
            yield from _damage(name, read)


def _streams(run: RunFolder) -> Iterator[Damage]:
    tree = Tree(run.dir)
    for name in ("events.jsonl", "train.log"):
        if os.path.lexists(run.dir / name):
            yield from _damage(name, partial(tree.plain, name))


def _lines(run: RunFolder, odd: OddLines | None) -> Iterator[Damage]:
    if odd is None:
        reader = EventReader(run.events_file)
        with suppress(BridgeError):  # what `_streams` tells
            reader.pass_over()
        odd = reader.odd
    if odd.count:
        fix = "All other lines count, and nothing needs to be done."
        yield Damage("events.jsonl", str(odd), fix, can_be_mended=False, is_a_part=True)


def _folders(run: RunFolder) -> Iterator[Damage]:
    tree = Tree(run.dir)
    for name in FOLDERS:
        if os.path.lexists(run.dir / name) and not tree.is_folder(name):
            yield Damage(name, f"{name} is not a folder of this run.", _MEND)


def _prompts(run: RunFolder) -> Iterator[Damage]:
    for file in run.held_prompts():
        if held_prompt.read_held(run, file) is None:
            name = file.relative_to(run.dir).as_posix()
            yield Damage(name, f"{file.name} is not a prompt that can be queued.", _MEND)


def _packages(run: RunFolder) -> Iterator[Damage]:
    from ..package.package import RECORD_NAME, read_record  # brings all of packaging along

    for folder in run.files.entries("package"):
        if os.path.lexists(folder / RECORD_NAME):
            for each in _damage(f"package/{folder.name}/{RECORD_NAME}", partial(read_record, run, folder)):
                fix = "Package that checkpoint again; the LoRA itself is not touched by it."
                yield replace(each, fix=fix, can_be_mended=False, is_a_part=True)


def _grids(run: RunFolder) -> Iterator[Damage]:
    """Of the validations, which lie beside the runs."""
    file = run.dir.parents[2] / "validations" / run.slug / run.run_id / MANIFEST_NAME
    fix = "All others count; validating again keeps the damaged file beside a new one."
    try:
        problems = readable_manifest(file)[1] if os.path.lexists(file) else ()
    except (BridgeError, OSError) as error:
        problems, fix = (getattr(error, "problem", str(error)),), "Move it away, and validate again."
    for problem in problems:
        yield Damage(MANIFEST_NAME, problem, fix, can_be_mended=False, is_a_part=True)


def _damage(name: str, read: Callable[[], Any]) -> Iterator[Damage]:
    try:
        read()
    except FileNotFoundError:
        return
    except (BridgeError, OSError, ValueError, TypeError) as error:
        problem = (
            error.problem if isinstance(error, BridgeError) else f"{name} can't be read: {reason_of(error)}."
        )
        yield Damage(name, problem, _MEND)


def _read_as(kind: type, tree: Tree, name: str) -> None:
    value = tree.read_json(name)
    if not isinstance(value, kind):
        raise TypeError("it holds something else than its name says")
