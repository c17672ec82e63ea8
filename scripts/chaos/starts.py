"""The desk of a ComfyUI that starts on a workspace which is damaged outside of its runs, or held by another program.

In: a seed and a count. Out: a `Tried` for each workspace. The desk is made, watches, lists and stops within seconds, what can't be done is said
in words, nothing outside changes, and a workspace whose runs are untouched lists them.
"""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock

from kohya_bridge.building.character_options import load_options
from kohya_bridge.dataset import list_datasets
from kohya_bridge.desk import Desk
from kohya_bridge.runs.experiments import record_experiment
from kohya_bridge.runs.run_table import experiment_table
from kohya_bridge.workspace import Workspace
from tests.desk.conftest import request
from tests.planting import (
    PLANTS,
    desk_at,
    fingerprint,
    link_to_a_folder,
    link_to_nowhere,
    make_finished,
    make_outside,
    others_are_well,
    put,
    the_two_runs,
)

from .oddities import VALUES, damaged, text
from .tried import GOT_IN, LOST, Tried, attempt

_PLACES = (
    "runs/.slot.lock", "runs/.queue", "runs/.queue/0123456789ab.json", "runs/.changed", "runs/alice/.x", "runs/odd", "runs/odd/0123456789ab",
    "experiments.jsonl", "logs", "validations", "cache", "trash", "kohya", "kohya/datasets", "kohya/datasets/odd", "kohya/prompts", "kohya/configs",
    "kohya/character_options.json", "kohya/options.json", "cache/sha256", "cache/thumbnails", "cache/devices.json", "logs/alice",
)  # fmt: skip
_FILES = (
    "runs/.queue/0123456789ab.json",
    "runs/.changed",
    "experiments.jsonl",
    "kohya/character_options.json",
    "runs/.queue/x",
    "runs/.queue/\u202e.json",
)
_LARGER_DISKS = ("logs", "validations", "cache", "trash", "kohya", "kohya/datasets")
"""A person's own links to folders, which are followed (docs/architecture.md)."""


def starts(root: Path, *, count: int, seed: int) -> Iterator[Tried]:
    finished = make_finished(root / "finished")
    for number in range(count):
        yield _started(finished, root / f"{number}", number, random.Random(f"{seed}-{number}"))


def _started(finished: Path, place: Path, number: int, dice: random.Random) -> Tried:
    shutil.copytree(finished, place / "all", symlinks=True)
    outside = make_outside(place / "outside")
    before, (_, other) = fingerprint(outside), the_two_runs(place / "all")
    workspace = Workspace.at(place / "all" / "training")
    hurt = [_spoil(workspace.root, outside, dice) for _ in range(dice.randint(1, 3))]
    tried = Tried(f"workspace {number} ({'; '.join(hurt)})", acts=0)
    held = FileLock(workspace.runs_dir / ".slot.lock") if dice.random() < 0.2 else None
    if held and not any("slot.lock" in each for each in hurt):
        held.acquire()
    try:
        for name, act in _acts(place / "all").items():
            tried.acts += 1
            attempt(tried, name, act, patience_s=10.0)
    finally:
        if held:
            held.release(force=True)
    if fingerprint(outside) != before:
        tried.note(GOT_IN, "something outside changed")
    if wrong := others_are_well(desk_at(place / "all"), other):
        tried.note(LOST, wrong)
    shutil.rmtree(place)
    return tried


def _spoil(root: Path, outside: Path, dice: random.Random) -> str:
    """Plant something odd in the workspace, or write an odd record, and say what."""
    if dice.random() < 0.5:
        name, plant = dice.choice(_PLACES), dice.choice(PLANTS)
        if plant is link_to_a_folder and name in _LARGER_DISKS:
            plant = link_to_nowhere
        if not _hidden(root, name):
            put(plant, root / name, outside)
        return f"{name} as {plant.__name__}"
    name = dice.choice(_FILES)
    if not _hidden(root, name):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        odd = (json.dumps(dice.choice(VALUES)), text(dice, most=300), "[" * 100_000, "")
        content = dice.choice(odd).encode("utf-8", "surrogatepass")
        if not (root / name).is_dir() and not (root / name).is_symlink():
            (root / name).unlink(missing_ok=True)
            (root / name).write_bytes(damaged(dice, content) if dice.random() < 0.3 else content)
    return f"{name} written"


def _hidden(root: Path, name: str) -> bool:
    """Whether what was planted before stands on the way."""
    return any(
        (root / each).is_symlink() or ((root / each).exists() and not (root / each).is_dir())
        for each in Path(name).parents
    )


def _acts(place: Path) -> dict[str, Callable[[], Any]]:
    """What the start of the pack and the first looks of a page do, and a training at last."""
    made: list[Desk] = []

    def start() -> None:
        made.append(desk_at(place))
        made[0].start_watching(lambda run, event: None)

    def rerecord() -> None:
        run, _ = the_two_runs(place)
        record_experiment(Workspace.at(place / "training"), run, run.state(), exit_code=0, now=time.time())

    workspace = Workspace.at(place / "training")
    return {
        "start": start,
        "list": lambda: [made[0].runs(), json.loads(made[0]._run_list.encoded())],
        "queue": lambda: made[0].queue(),
        "held": lambda: [made[0].runs_with_held_prompts(), made[0].runs_with_unattended_validation()],
        "reconcile": lambda: made[0].reconcile(patience_s=0.2),
        "data sets": lambda: list_datasets(workspace),
        "options": lambda: load_options(workspace),
        "experiments": lambda: experiment_table(workspace),
        "record": rerecord,
        "check": lambda: made[0].check(request(settings={"seed": 8})),
        "end": lambda: made[0].stop_watching(),
    }
