"""Files of a finished run damaged one at a time, and everything tried on it that a person, a page or a starting ComfyUI does.

In: a seed and a count. Out: a `Tried` for each damage. Nothing crashes or hangs, the other run keeps its result, and what lies outside
stays as it is. Damages are of the file's own kind (odd values in JSON and YAML, odd lines, flipped and cut bytes) or plant what is no file.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kohya_bridge.desk import Desk
from kohya_bridge.run_folder import RunFolder
from kohya_bridge.runs.damage import damages_of, mend
from tests.planting import (
    PLANTS,
    desk_at,
    fingerprint,
    make_finished,
    make_outside,
    others_are_well,
    put,
    the_two_runs,
    verbs,
)

from .oddities import VALUES, damage_for
from .tried import CRASHED, GOT_IN, LOST, Tried, attempt

_NOT_THERE = (
    "unattended.json", "held_prompts/0123456789abcdef.json", "control/stop", "stopping.json", "lending.json", "queued.json", "launch.json",
)  # fmt: skip
"""Records that a finished run need not have; whoever passes a folder on may put them there."""


def folders(root: Path, *, count: int, seed: int) -> Iterator[Tried]:
    finished = make_finished(root / "finished")
    for number in range(count):
        yield _damaged(finished, root / f"{number}", number, random.Random(f"{seed}-{number}"))


def _damaged(finished: Path, place: Path, number: int, dice: random.Random) -> Tried:
    shutil.copytree(finished, place / "all", symlinks=True)
    outside = make_outside(place / "outside")
    before = fingerprint(outside)
    run, other = the_two_runs(place / "all")
    kept = _persons_own(run)
    tried = Tried(f"damage {number} ({_damage(run, outside, dice)})")
    desk = desk_at(place / "all")
    acts = {**verbs(desk, run, other, place / "all" / "models" / "loras"), **_more(desk, run)}
    for name, act in acts.items():
        attempt(tried, name, act)
    tried.acts = len(acts)
    if wrong := others_are_well(desk, other):
        tried.note(LOST, wrong)
    gone = [name for name in kept if not any((place / "all").rglob(name))]  # `delete` moved them to the trash
    if gone:
        tried.note(LOST, f"a person's own {', '.join(gone)}")
    if fingerprint(outside) != before:
        tried.note(GOT_IN, "something outside changed")
    for each in desk.slot.aside.runs():
        trouble = desk.slot.aside.of(each)
        if trouble and "could not be dealt with" in trouble.problem:
            tried.note(CRASHED, trouble.problem)
    shutil.rmtree(place)
    return tried


def _persons_own(run: RunFolder) -> list[str]:
    """Copies that a person keeps beside a trainer's files, under names like theirs."""
    states = sorted((run.dir / "states").iterdir())
    checkpoint = min((run.dir / "checkpoints").iterdir())
    copies = {
        states[0]: ("states/step00000001-keep", "states/step00000002"),
        checkpoint: (f"checkpoints/{checkpoint.stem}-keep.safetensors", "checkpoints/.writing-mine.txt"),
    }
    for source, names in copies.items():
        for name in names:
            (shutil.copytree if source.is_dir() else shutil.copy)(source, run.dir / name)
    return [Path(name).name for names in copies.values() for name in names]


def _damage(run: RunFolder, outside: Path, dice: random.Random) -> str:
    """Spoil one file of the run, and say which and how."""
    if dice.random() < 0.12:
        name = dice.choice(_NOT_THERE)
        file = run.dir / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(json.dumps(dice.choice(VALUES)).encode("utf-8", "surrogatepass"))
        return f"{name} planted"
    file = dice.choice(
        [each for each in sorted(run.dir.rglob("*")) if each.is_file() and not each.is_symlink()]
    )
    name = file.relative_to(run.dir).as_posix()
    if dice.random() < 0.12:
        plant = dice.choice(PLANTS)
        put(plant, file, outside)
        return f"{name} as {plant.__name__}"
    damage = damage_for(name)
    data = file.read_bytes()
    file.unlink()  # a packaged file has a second name outside of the run
    file.write_bytes(damage(dice, data))
    return f"{name} {damage.__name__}"


def _more(desk: Desk, run: RunFolder) -> dict[str, Callable[[], Any]]:
    """What a ComfyUI does that starts on this workspace, and what ends the damage, at last."""

    def start() -> None:
        told: list[str] = []
        desk.start_watching(lambda run, event: told.append(json.dumps(event, allow_nan=False)))
        desk.reconcile()
        desk.stop_watching()

    return {
        "damages": lambda: damages_of(run),
        "asks": lambda: desk.answers.ask(run, "x"),
        "start of the desk": start,
        "resume": lambda: desk.resume(run.run_id),
        "end of it": lambda: desk.wait(run.run_id, poll_s=0.02),
        "mend": lambda: mend(run),
        "list of the mended": lambda: json.loads(desk._run_list.encoded()),
        "delete": lambda: desk.delete(run.run_id),
    }
