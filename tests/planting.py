"""What a folder that somebody passed on may hold in place of a file, and what must then be true of everything else.

In: a workspace with finished runs. Out: for one name in one run, one odd thing planted there and every verb of the desk tried
on it: what broke. Used by the tests and, whole, by the campaign.
"""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from kohya_bridge.desk import Desk
from kohya_bridge.errors import BridgeError
from kohya_bridge.package import packages_of
from kohya_bridge.package.package import package_lora
from kohya_bridge.plan import request_of
from kohya_bridge.run_folder import RunFolder
from kohya_bridge.runs.run_comparison import compare_runs
from kohya_bridge.runs.run_pictures import thumbnail
from kohya_bridge.runs.run_table import experiment_table
from kohya_bridge.runs.run_view import RunViews
from kohya_bridge.steering.slot import Slot
from kohya_bridge.validation.asked_grid import choose_checkpoints
from kohya_bridge.workspace import Workspace
from tests.desk.conftest import BASE, make_dataset, request, write_base_model
from tests.doubles.quick_engine import QuickEngine

PATIENCE_S = 5.0
KEPT = b"what lies outside stays as it is\n"

Plant = Callable[[Path, Path], None]
"""Puts something at a place; the second argument is a folder outside of everything."""


def link_to_a_file(place: Path, outside: Path) -> None:
    place.symlink_to(outside / "precious.json")


def link_to_a_folder(place: Path, outside: Path) -> None:
    place.symlink_to(outside, target_is_directory=True)


def link_to_nowhere(place: Path, outside: Path) -> None:
    place.symlink_to(outside / "new")


def link_to_endless_zeros(place: Path, outside: Path) -> None:
    place.symlink_to("/dev/zero")


def pipe(place: Path, outside: Path) -> None:
    os.mkfifo(place)


def listening_socket(place: Path, outside: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        handle = os.open(place.parent, os.O_RDONLY)
        try:
            made.bind(f"/proc/self/fd/{handle}/{place.name}")  # the name of a socket is short
        finally:
            os.close(handle)


def folder(place: Path, outside: Path) -> None:
    place.mkdir()
    (place / "x").write_bytes(KEPT)


PLANTS: tuple[Plant, ...] = (
    link_to_a_file,
    link_to_a_folder,
    link_to_nowhere,
    link_to_endless_zeros,
    pipe,
    listening_socket,
    folder,
)


def make_outside(place: Path) -> Path:
    """A folder with files of the kinds that a run holds, so that whoever follows a link finds something to destroy."""
    (place / "below" / "step00000004").mkdir(parents=True)
    for name in (
        "precious.json",
        "train.log",
        "below/x.safetensors",
        "below/step00000004/state.json",
        "0001.png",
    ):
        (place / name).write_bytes(KEPT)
    return place


def fingerprint(place: Path) -> dict[str, tuple[int, bytes]]:
    """Everything below a folder with time and content."""
    return {
        each.relative_to(place).as_posix(): (
            each.lstat().st_mtime_ns,
            b"" if each.is_dir() else each.read_bytes(),
        )
        for each in sorted(place.rglob("*"))
    }


def make_finished(place: Path) -> Path:
    """A folder with a workspace of two finished runs, one of them packaged and rendered, and the models it needs."""
    workspace = Workspace.at(place / "training")
    make_dataset(workspace, "alice")
    write_base_model(place / "models" / "checkpoints" / BASE)
    desk = desk_at(place)
    run = desk.submit(request())
    assert desk.wait(run.run_id, poll_s=0.02).status == "completed"
    other = desk.submit(request(settings={"seed": 7}))
    assert desk.wait(other.run_id, poll_s=0.02).status == "completed"
    package_lora(run, lora_dir=place / "models" / "loras", hub_folder=True)
    sample = run.dir / "samples" / "step00000004-0.png"
    sample.parent.mkdir(exist_ok=True)
    Image.new("RGB", (16, 16), "teal").save(sample)
    run.append("sample", step=4, file="samples/step00000004-0.png", prompt="a", seed=0)
    grid = workspace.validation_dir(run.slug, run.run_id) / "grid-step00000004-x.png"
    grid.parent.mkdir(parents=True)
    Image.new("RGB", (16, 16), "teal").save(grid)
    return place


def desk_at(place: Path) -> Desk:
    return Desk(
        Workspace.at(place / "training"),
        checkpoint_dirs=[place / "models" / "checkpoints"],
        lora_dirs=[place / "models" / "loras"],
        tokenizer_dir=place / "models" / "tokenizer",
        engines={"native": QuickEngine()},
    )


def the_two_runs(place: Path) -> tuple[RunFolder, RunFolder]:
    runs = [RunFolder(each) for each in Workspace.at(place / "training").run_dirs()]
    packaged = next(each for each in runs if each.is_published)
    return packaged, next(each for each in runs if each != packaged)


def put(plant: Plant, place: Path, outside: Path) -> None:
    """`plant` at a place, whatever is there now."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    elif os.path.lexists(place):
        place.unlink()
    place.parent.mkdir(parents=True, exist_ok=True)
    plant(place, outside)


@dataclass
class Tried:
    """One verb on one planted thing. `wrong` is empty when it went as it should."""

    verb: str
    wrong: str


def try_verb(name: str, act: Callable[[], Any], *, patience_s: float = PATIENCE_S) -> Tried:
    """Run `act` with a time limit. A BridgeError is an answer; anything else that is raised is a crash."""
    said: list[str] = []

    def run() -> None:
        try:
            act()
        except BridgeError as error:
            said.append("" if error.problem else f"{name}: an error without words")
        except BaseException as error:  # whatever it is, it is what the campaign looks for
            said.append(f"{name}: {type(error).__name__}: {error}")
        else:
            said.append("")

    thread = threading.Thread(target=run, daemon=True)
    began = time.monotonic()
    thread.start()
    thread.join(patience_s)
    return Tried(name, said[0] if said else f"{name}: hung for {time.monotonic() - began:.0f} s")


def verbs(desk: Desk, run: RunFolder, other: RunFolder, lora_dir: Path) -> dict[str, Callable[[], Any]]:
    """Everything that a person can do with a run that has ended, but `delete` and `resume`, which end it."""
    views = RunViews(desk.workspace, desk._run_list)

    def pictures() -> None:
        for each in views.pictures(run):
            each.to_json()
            thumbnail(desk.workspace, each.file, size=96)

    return {
        "list": lambda: [desk.runs(), desk._run_list.encoded()],
        "state": lambda: desk.state(run.run_id),
        "view": lambda: views.snapshot(run),
        "losses": lambda: views.losses(run, first=0, last=100, most=100),
        "pictures": pictures,
        "log": lambda: run.log_tail(),
        "plan": lambda: run.plan(),
        "retry": lambda: request_of(run.plan()),
        "compare": lambda: compare_runs(run, other),
        "curves": lambda: views.compare([run, other]),
        "best": lambda: run.checkpoint("best"),
        "latest": lambda: run.checkpoint("latest"),
        "choose": lambda: [run.weights_of(each.file) for each in choose_checkpoints(run, "all")],
        "state folder": lambda: run.latest_state(),
        "held": lambda: [run.held_prompts(), desk.runs_with_held_prompts()],
        "unattended": lambda: desk.runs_with_unattended_validation(),
        "packages": lambda: packages_of(run),
        "package": lambda: package_lora(run, lora_dir=lora_dir, hub_folder=True, civitai_zip=True),
        "experiments": lambda: experiment_table(desk.workspace),
        "alive": lambda: desk.is_alive(run.run_id),
        "stop": lambda: desk.stop(run.run_id),
        "unpause": lambda: desk.unpause(run.run_id),
        "queue": lambda: desk.queue(),
        "reconcile": lambda: desk.reconcile(),
        "advance": lambda: Slot(desk.workspace).advance(),
    }


def others_are_well(desk: Desk, other: RunFolder) -> str:
    """Why another run is not what it was; empty when it is."""
    listed = {each.run_id: each.status for each in desk.runs()}
    if listed.get(other.run_id) != "completed":
        return f"another run is listed as {listed.get(other.run_id)}"
    if desk.state(other.run_id).status != "completed" or not other.files.is_file(
        other.checkpoint("best")["file"]
    ):
        return "another run lost its result"
    return ""
