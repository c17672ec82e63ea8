"""Data sets that somebody passed on: links, pipes, odd files and hostile journals in them, and everything tried that a person does.

In: a seed and a count. Out: a `Tried` for each data set. Nothing crashes or hangs, nothing outside changes or gets in, the data set beside
it stays as it is, and every picture that was sound is still somewhere in the workspace.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from kohya_bridge.dataset import dataset_digest, list_datasets, read_dataset
from kohya_bridge.datasets.dataset_folder import Dataset
from kohya_bridge.datasets.dataset_lock import difference, snapshot, take_version
from kohya_bridge.datasets.dataset_transfer import EXPORT_FORMATS, export_dataset, import_folder
from kohya_bridge.datasets.trainer_sheet import trainer_sheet
from kohya_bridge.datasets.trainer_view import view_dataset
from kohya_bridge.engines.kohya.render import Places
from kohya_bridge.engines.kohya.staging import Picture, stage
from kohya_bridge.lint import contact_sheet, examine, lint_dataset
from kohya_bridge.lint.page import report_page
from kohya_bridge.lint.repair import plan_repairs, repair_dataset, undo_repairs
from kohya_bridge.settings import TrainingSettings
from kohya_bridge.workspace import Workspace
from tests.desk.conftest import BASE, make_dataset, request, write_base_model
from tests.planting import PLANTS, desk_at, fingerprint, make_outside, put
from tests.rehearsed_runs import rehearsed_plan

from .oddities import VALUES, damage_for, damaged, text
from .tried import GOT_IN, LOST, Tried, attempt

_PLACES = (
    "images", "images/0001.png", "images/0002.png", "images/0001.txt", "images/0003.caption", "images/0004.png", "captions.jsonl", "metadata.yaml",
    "dataset.lock.json", "originals", "originals/20990101-000000-01", "originals/20990101-000000-01/repairs.json", "images/.thumb.db",
    ".captions.jsonl.tmp", "metadata.jsonl", "meta_cap.json", "images/0001_sd.npz", "images/Thumbs.db",
)  # fmt: skip
_AIMS = (
    "../../../outside/precious.json", "../bob/images/0001.png", "../bob/metadata.yaml", "/etc/hostname", "../../custom_nodes/zz.py", "images/../../bob/x.png",
    "images/0001.png", "captions.jsonl", "metadata.yaml", "images/new.png", "originals/x", "images\\..\\x", "C:/x.png", "images/a.png\0", "",
)  # fmt: skip


def datasets(root: Path, *, count: int, seed: int) -> Iterator[Tried]:
    """`count` data sets; the n-th one depends on the seed and its number alone."""
    sound = Workspace.at(root / "sound" / "training")
    for slug in ("alice", "bob"):
        make_dataset(sound, slug, size=96)
    write_base_model(root / "sound" / "models" / "checkpoints" / BASE)
    for number in range(count):
        yield _received(sound.root.parent, root / f"{number}", number, random.Random(f"{seed}-{number}"))


def _received(sound: Path, place: Path, number: int, dice: random.Random) -> Tried:
    shutil.copytree(sound, place / "all")
    outside = make_outside(place / "outside")
    workspace = Workspace.at(place / "all" / "training")
    before, beside = fingerprint(outside), fingerprint(workspace.dataset_dir("bob"))
    folder = workspace.dataset_dir("alice")
    how = " and ".join(_spoil(folder, outside, dice) for _ in range(dice.randint(1, 2)))
    tried = Tried(f"data set {number} ({how})")
    kept = _pictures(workspace.dataset_dir("alice"))
    acts = _acts(workspace, place / "all")
    for name, act in acts.items():
        attempt(tried, name, act)
    tried.acts = len(acts)
    if fingerprint(outside) != before or (place / "all" / "custom_nodes").exists():
        tried.note(GOT_IN, "something outside changed")
    if _without_locks(fingerprint(workspace.dataset_dir("bob"))) != _without_locks(beside):
        tried.note(GOT_IN, "the data set beside it changed")
    if lost := kept - _pictures(place / "all"):
        tried.note(LOST, f"{len(lost)} sound pictures are nowhere any more")
    shutil.rmtree(place)
    return tried


def _pictures(folder: Path) -> set[str]:
    """Digests of every picture below a folder that Pillow reads, by what it shows."""
    found = set()
    for each in folder.rglob("*.png"):
        if each.is_file() and not each.is_symlink():
            try:
                with Image.open(each, formats=["PNG"]) as picture:
                    found.add(hashlib.sha256(picture.convert("RGB").tobytes()).hexdigest())
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
                continue
    return found


def _without_locks(told: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if not name.endswith(".lock")}


def _spoil(folder: Path, outside: Path, dice: random.Random) -> str:
    """Do one thing to the data set, and say what."""
    way = dice.choice(("plant", "plant", "journal", "journal", "damage", "damage", "sidecar", "rows"))
    if way == "plant":
        name, plant = dice.choice(_PLACES), dice.choice(PLANTS)
        if (folder / name).parent.is_dir() and not (folder / name).parent.is_symlink():
            put(plant, folder / name, outside)
        return f"{name} as {plant.__name__}"
    if way == "journal":
        return _journal(folder, dice)
    if way == "sidecar":
        name = dice.choice(("0001.txt", "0002.caption", "x" * 200 + ".txt", "\u202egnp.txt", "a b.png"))
        content = text(dice).encode("utf-8", "surrogatepass")
    elif way == "rows":
        name = "../captions.jsonl"
        rows = [
            {
                "file_name": dice.choice((*_AIMS, "0001.png", dice.choice(VALUES))),
                "prompt": dice.choice(VALUES),
            }
            for _ in range(4)
        ]
        content = "\n".join(json.dumps(each) for each in rows).encode()
    else:
        name = dice.choice(("0001.png", "../captions.jsonl", "../metadata.yaml"))
        whole = (folder / "images" / name).read_bytes() if (folder / "images" / name).is_file() else b"{}"
        content = _safely(damage_for(name), dice, whole)
    if (folder / "images").is_dir() and not (folder / "images").is_symlink():
        file = folder / "images" / name
        if file.is_symlink() or not file.exists() or file.is_file():
            file.unlink(missing_ok=True)
            file.write_bytes(content)
    return f"{way} {name[:30]}"


def _safely(damage: Callable[[random.Random, bytes], bytes], dice: random.Random, data: bytes) -> bytes:
    try:
        return damage(dice, data)
    except ValueError:  # the first damage left nothing that parses
        return damaged(dice, data)


def _journal(folder: Path, dice: random.Random) -> str:
    """A repair that this machine never did, of which every name leads where it should not; kept files included."""
    stamp = dice.choice(("20990101-000000-01", "20260101-000000-01", "../x", "a b"))
    aside = folder / "originals" / stamp.replace("/", "_")
    names = [dice.choice(_AIMS) for _ in range(dice.randint(1, 3))]
    told: dict[str, Any] = {
        "repairs": [["W404", "0001.png", "x"]],
        "kept": dice.choice((names, dict.fromkeys(names, "0" * 64), dice.choice(VALUES))),
        "written": dice.choice(
            (dict.fromkeys(names, ""), dict.fromkeys(names, "0" * 64), {}, dice.choice(VALUES))
        ),
        "signature": dice.choice(("", "0" * 64, dice.choice(VALUES))),
    }
    if not (folder / "originals").is_symlink():
        (folder / "originals").mkdir(exist_ok=True) if not (folder / "originals").exists() else None
        if (folder / "originals").is_dir() and not aside.exists() and not aside.is_symlink():
            aside.mkdir()
            (aside / "repairs.json").write_text(json.dumps(told), "utf-8", "replace")
            (aside / "metadata.yaml").write_text("slug: taken\n")
    return f"journal {stamp} of {names}"


def _acts(workspace: Workspace, place: Path) -> dict[str, Callable[[], Any]]:
    """Everything that people, nodes and engines do with a data set; those that change it come last."""
    folder = workspace.dataset_dir("alice")
    desk = desk_at(place)

    def look() -> Dataset:
        return read_dataset(folder)

    def sheets() -> None:
        dataset = look()
        seen, _ = examine(dataset)
        views = view_dataset(dataset, seen.facts, TrainingSettings())
        report = lint_dataset(dataset)
        report_page(dataset, report, views=views)
        contact_sheet(dataset, report)
        trainer_sheet(dataset, views)

    def staged() -> None:
        plan = rehearsed_plan(engine="kohya", images=3)
        pictures = [Picture(each.name, each.file, each.caption) for each in look().items]
        stage(
            plan, pictures, Places(base_model=place / "x", staging=place / "run" / "staging", tokenizers=None)
        )

    def mark() -> None:
        version = snapshot(look(), name="x")
        difference(version, take_version(look(), version).versions[-1])

    exports = {
        f"export {each}": lambda format=each: export_dataset(
            look(), place / "exported" / format, format=format
        )
        for each in EXPORT_FORMATS
    }
    return {
        "list": lambda: list_datasets(workspace),
        "read": look,
        "digest": lambda: dataset_digest(look()),
        "lint": lambda: lint_dataset(look()),
        "lint beside it": lambda: lint_dataset(read_dataset(workspace.dataset_dir("bob"))),
        "sheets": sheets,
        "check": lambda: desk.check(request()),
        "stage": staged,
        "import": lambda: import_folder(workspace, folder, "carol"),
        **exports,
        "mark": mark,
        "plan of repairs": lambda: plan_repairs(look()),
        "undo": lambda: undo_repairs(look()),
        "undo by name": lambda: undo_repairs(look(), stamp="20990101-000000-01"),
        "repair": lambda: repair_dataset(look()),
        "undo of the repair": lambda: undo_repairs(look()),
        "repair again": lambda: repair_dataset(look()),
    }
