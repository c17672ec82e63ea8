"""Every list that is kept in files, with one of its elements spoilt, as the panel and the shell then tell of it.

In: a seed and a count. Out: a `Tried` for each spoilt file, with every route of the panel that reads and every verb that lists done on
it. Every other element is still there, what is odd is said, all that leaves is strict JSON, no route answers with 500, and no verb
ends in the code for a fault of this program.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kohya_bridge.__main__ import main
from kohya_bridge.building.character import Character
from kohya_bridge.captions import append_prompt, read_prompts
from kohya_bridge.cli import exit_codes
from kohya_bridge.dataset import read_dataset
from kohya_bridge.datasets.dataset_lock import note_training, readable_lock
from kohya_bridge.errors import InvalidInput
from kohya_bridge.run_folder import RunFolder
from kohya_bridge.runs.choices import Choices, keep_choices
from kohya_bridge.validation.manifest import (
    MANIFEST_NAME,
    CellRecord,
    GridRecord,
    LoraFile,
    Manifest,
    PictureFile,
    Sampling,
    readable_manifest,
    update_manifest,
)
from kohya_bridge.workspace import Workspace
from tests.desk.conftest import make_dataset
from tests.doubles.quick_engine import QuickEngine
from tests.panel.loaded_pack import pack_module
from tests.planting import make_finished, the_two_runs

from .oddities import damage_for
from .tried import CRASHED, GOT_IN, LOST, Tried

JSON = "application/json"


@dataclass
class Lists:
    """A copy of a workspace in which one file may be spoilt."""

    place: Path

    @property
    def workspace(self) -> Workspace:
        return Workspace.at(self.place / "training")

    @property
    def run(self) -> RunFolder:
        return the_two_runs(self.place)[0]

    @property
    def other(self) -> RunFolder:
        return the_two_runs(self.place)[1]

    def files(self) -> list[Path]:
        """Everything that holds a list or is an element of one, and is no picture, no weights and no lock."""
        kinds = (".jsonl", ".json", ".yaml")
        found = [each for each in sorted(self.place.rglob("*")) if each.suffix in kinds and each.is_file()]
        return [each for each in found if "loras" not in each.parts]


def make_lists(place: Path) -> Lists:
    """Two finished runs with packages, grids, versions, prompts and a second dataset."""
    make_finished(place)
    made = Lists(place)
    workspace, run = made.workspace, made.run
    make_dataset(workspace, "bob")
    for slug in ("alice", "bob"):
        for run_id in (run.run_id, made.other.run_id):
            note_training(workspace.dataset_dir(slug), run_id=run_id)
    keep_choices(run, Choices("It trains the family.", "no: there is no bf16 here"))
    row = run.checkpoint("best")
    lora = LoraFile(step=row["step"], file=row["file"], sha256=row["sha256"])
    sampling = Sampling(sampler="euler", scheduler="normal", steps=1, cfg=7.0, width=16, height=16)
    picture = PictureFile(file="grid-step00000004-x.png", sha256="a" * 64)
    cells = [
        CellRecord(key=f"{seed:016x}", prompt=f"a {seed}", seed=seed, strength=1.0, lora=lora, sampling=sampling, picture=picture)
        for seed in range(4)
    ]  # fmt: skip
    grid = GridRecord(picture=picture, rows=["a"], columns=["b"], cells={"A1": cells[0].key})
    file = workspace.validation_dir(run.slug, run.run_id) / MANIFEST_NAME
    update_manifest(file, slug=run.slug, run_id=run.run_id, cells=cells, grids=[grid])
    _make_prompts(workspace)
    pack_module("kohya_bridge.runs.run_list").RunList(workspace).lines()
    return made


def _make_prompts(workspace: Workspace) -> None:
    for seed in range(3):
        character = Character(
            prompt=f"char_alice, number {seed}", negative_prompt="", caption="char_alice", trigger="char_alice", seed=seed,
            character_id="alice", family="sd15",
        )  # fmt: skip
        append_prompt(workspace, character, clock=lambda: 1.0)


def lists(root: Path, *, count: int, seed: int) -> Iterator[Tried]:
    made = make_lists(root / "finished")
    for number in range(count):
        dice = random.Random(f"{seed}-{number}")
        file = dice.choice(made.files())
        data = file.read_bytes()
        name = file.relative_to(made.place).as_posix()
        if data and dice.random() < 0.5:
            at = dice.randrange(len(data))
            spoilt = data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]
        else:
            spoilt = damage_for(name)(dice, data)
        yield spoil(made, root / f"{number}", name, spoilt)


def spoil(made: Lists, place: Path, name: str, spoilt: bytes) -> Tried:
    """Put other bytes in place of one file of a copy, and look at everything."""
    before = _Looks(made)
    shutil.copytree(made.place, place, symlinks=True)
    copy = Lists(place)
    file, data = place / name, (made.place / name).read_bytes()
    tried = Tried(f"{name} ({sum(a != b for a, b in zip(data, spoilt, strict=False))} bytes other)", acts=0)
    file.unlink()
    file.write_bytes(spoilt)
    try:
        looks = _Looks(copy, tried)
        _compare(tried, name, before, looks, data, spoilt)
    finally:
        shutil.rmtree(place)
    return tried


class _Looks:
    """What is told of a workspace."""

    def __init__(self, lists: Lists, tried: Tried | None = None):
        self.tried = tried or Tried("")
        self.lists = lists
        self.run, self.other = lists.run, lists.other
        slug = {"alice": lists.workspace.dataset_dir("alice"), "bob": lists.workspace.dataset_dir("bob")}
        self.captions = {
            name: {each.name: each.caption for each in read_dataset(dir).items} for name, dir in slug.items()
        }
        self.versions = {
            name: [each.digest for each in readable_lock(dir)[0].versions] for name, dir in slug.items()
        }
        self.prompts = read_prompts(lists.workspace.prompts_file("alice"))
        self.cells = self._cells()
        self.routes = {
            route.path: self._route(route)
            for route in pack_module("nodes.routes").ROUTES
            if route.method == "GET"
        }
        self.events = self._events(self.run)
        self.said = {" ".join(words): self._said(words) for words in self._verbs()}

    def _cells(self) -> list[str]:
        try:
            file = self.lists.workspace.validation_dir(self.run.slug, self.run.run_id) / MANIFEST_NAME
            return [each.key for each in readable_manifest(file)[0].cells]
        except InvalidInput:
            return []

    def _route(self, route: Any) -> Any:
        """The answer of a route, as a strict reader of JSON takes it."""
        panel = self._panel()
        path = (
            {"run": self.run.run_id, "which": "latest", "name": "x", "what": "x"} if "{" in route.path else {}
        )
        query = {"runs": f"{self.run.run_id},{self.other.run_id}"} if route.path == "compare" else {}
        return self._asked(panel, route, path, query)

    def _panel(self) -> Any:
        workspace = pack_module("kohya_bridge.workspace").Workspace.at(self.lists.workspace.root)
        return pack_module("nodes.panel_answers").Panel.at(
            pack_module("kohya_bridge.desk").Desk(workspace, engines={}), None
        )

    def _asked(self, panel: Any, route: Any, path: dict[str, str], query: dict[str, str]) -> Any:
        self.tried.acts += 1
        try:
            answer = pack_module("nodes.routes")._answered(panel, route, path, query, {})
        except pack_module("kohya_bridge.errors").BridgeError as error:
            return {"problem": error.problem}
        except Exception as error:  # it would be a 500
            self.tried.note(CRASHED, f"GET {route.path}: {type(error).__name__}: {error}")
            return None
        if answer.headers["Content-Type"] != JSON:
            return None
        return self._strictly(f"GET {route.path}", answer.data)

    def _strictly(self, what: str, text: str | bytes) -> Any:
        def refuse(word: str) -> None:
            raise ValueError(f"{word} is no JSON")

        try:
            whole = text.decode("utf-8") if isinstance(text, bytes) else text
            whole.encode("utf-8")
            return json.loads(whole, parse_constant=refuse)
        except ValueError as error:
            self.tried.note(CRASHED, f"{what}: no JSON: {error}")
            return None

    def _events(self, run: RunFolder) -> list[dict[str, Any]]:
        routes = {each.path: each for each in pack_module("nodes.routes").ROUTES}
        told = self._asked(self._panel(), routes["runs/{run}/events"], {"run": run.run_id}, {}) or {}
        return [
            {name: value for name, value in each.items() if name != "seq"} for each in told.get("events", [])
        ]

    def _verbs(self) -> list[list[str]]:
        run, other = self.run.run_id, self.other.run_id
        return [
            ["runs"], ["status", run], ["status"], ["runs", "diff", run, other], ["experiments"], ["datasets"], ["lint", "alice"], ["triggers"],
            ["diff", "alice@trained", "alice"], ["validate", run, "--no-pictures"], ["tensorboard", run], ["mend", run],
        ]  # fmt: skip

    def _said(self, words: list[str]) -> list[Any]:
        self.tried.acts += 1
        out, err = io.StringIO(), io.StringIO()
        options = [
            "--json",
            "--workspace",
            str(self.lists.workspace.root),
            "--checkpoints",
            str(self.lists.place / "models" / "checkpoints"),
        ]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([words[0], *options, *words[1:]], engines={"native": QuickEngine()})
        if code not in exit_codes.MEANINGS or code in (exit_codes.UNEXPECTED, exit_codes.USAGE):
            self.tried.note(CRASHED, f"{' '.join(words)}: exit code {code}: {err.getvalue()[-300:]}")
        texts = (
            [out.getvalue()] if words[0] == "lint" else out.getvalue().splitlines()
        )  # lint tells one document
        return [self._strictly(" ".join(words), text) for text in texts if text]


def _compare(tried: Tried, name: str, before: _Looks, now: _Looks, data: bytes, spoilt: bytes) -> None:
    """Note what is gone though it was not spoilt."""
    known = {each["run_id"]: each for each in (before.routes["runs"] or {})["runs"]}
    listed = {each["run_id"]: each for each in (now.routes["runs"] or {}).get("runs", [])}
    other, run = before.other.run_id, before.run.run_id
    if run not in listed or other not in listed:
        tried.note(LOST, "a run is gone from the list")
    elif f"/{other}/" not in name and _steady(listed[other]) != _steady(known[other]):
        tried.note(LOST, "the other run is told otherwise")
    rows = {each.get("run_id") for each in now.said["runs"] if each}
    if not {run, other} <= rows:
        tried.note(LOST, "a run is gone from `runs`")
    if {each.get("dataset") for each in now.said["datasets"] if each} != {"alice", "bob"}:
        tried.note(LOST, "a dataset is gone from `datasets`")
    same = set(data.split(b"\n")) & set(spoilt.split(b"\n")[:-1])
    if name.endswith(f"{run}/events.jsonl"):
        _compare_events(tried, before, now, same)
    elif name.endswith("captions.jsonl"):
        slug = Path(name).parent.name
        kept = {json.loads(line)["file_name"] for line in same if line} - _names(
            set(spoilt.split(b"\n")) - same
        )
        if any(now.captions[slug].get(each) != before.captions[slug].get(each) for each in kept):
            tried.note(LOST, "a caption whose line is sound")
    elif name.endswith("experiments.jsonl"):
        rows = {each["run_id"] for each in (json.loads(line) for line in same if line)}
        if not rows <= {cell for each in now.said["experiments"] if each for cell in map(str, each.values())}:
            tried.note(LOST, "a row of the experiments that is sound")
    elif name.endswith("prompts/alice.jsonl"):
        if not all(json.loads(line) in now.prompts for line in same if line):
            tried.note(LOST, "a prompt that is sound")
    elif name.endswith(MANIFEST_NAME):
        _compare_cells(tried, now, spoilt)
    if not name.endswith(f"{run}/events.jsonl") and now.events != before.events:
        tried.note(GOT_IN, "a run's events changed though another file was spoilt")


def _compare_events(tried: Tried, before: _Looks, now: _Looks, same: set[bytes]) -> None:
    sound = [each for each in before.events if any(_is_line_of(each, line) for line in same)]
    if any(each not in now.events for each in sound):
        tried.note(LOST, "an event whose line is sound")
    listed = {each["run_id"]: each for each in (now.routes["runs"] or {}).get("runs", [])}
    told = [each for each in now.routes["runs/{run}"].get("damages", []) if each["file"] == "events.jsonl"]
    if len(now.events) < len(before.events) and now.events[-1:] != before.events[-1:]:
        return  # the end is cut off: nothing stands there that could be told of
    if len(now.events) < len(before.events) and not (told and listed[before.run.run_id].get("odd_lines")):
        tried.note(LOST, "an event, without a word about it")


def _is_line_of(event: dict[str, Any], line: bytes) -> bool:
    return bool(line) and {**event, "seq": 0} == {**json.loads(line), "seq": 0}


def _compare_cells(tried: Tried, now: _Looks, spoilt: bytes) -> None:
    """Cells that were not touched, where the file still is JSON of the form of a manifest."""
    try:
        told = json.loads(spoilt)
        keys = [each["key"] for each in told["cells"]]
        CellRecord.model_validate(told["cells"][0])
        whole = {**told, "cells": [], "grids": []}
        Manifest.model_validate(whole)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return
    if keys[0] not in now.cells:
        tried.note(LOST, "a cell that is sound")


def _names(lines: set[bytes]) -> set[str]:
    """File names in lines that were spoilt: such a line may speak of another picture."""
    found = set()
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
            found.add(str(json.loads(line)["file_name"]))
    return found


def _steady(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name not in ("created", "updated")}
