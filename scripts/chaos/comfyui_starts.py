"""The real ComfyUI, started on one damaged or hostile workspace after another, each beside its usual time.

In: a scratch folder. Out: a row of a table for each workspace as it comes, and None, or the `Hindered` start: one that did not come,
took more than `LATER_S` longer than usual, or said nothing of what was wrong.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kohya_bridge.errors import Unavailable
from kohya_bridge.run_folder import ChildIdentity, RunFolder
from kohya_bridge.workspace import Workspace
from scripts.host.comfy_host import ComfyHost
from tests.desk.conftest import make_dataset
from tests.hostile.received_runs import ATTACKS, DEEP, KINDS, There, make_outside, replaced
from tests.rehearsed_runs import rehearse, rehearsed_plan

LATER_S = 3.0
USUAL_EVERY = 8
"""So many damaged starts between two usual ones: a machine's pace changes within minutes."""
HEARD_WITHIN_S = 8.0


@dataclass(frozen=True)
class Around:
    """One workspace to be spoilt: its folder, a run of it, what lies outside, and what must be ended or undone afterwards."""

    training: Path
    run: RunFolder
    there: There
    afterwards: ExitStack


@dataclass(frozen=True)
class Hindered:
    """A start that did not go as it should."""

    name: str
    what: str

    def __str__(self) -> str:
        return f"{self.name}: {self.what}"


Damage = Callable[[Around], object]


def of_run(name: str) -> Damage:
    return lambda around: ATTACKS[name](around.run.dir, around.there)


def at(name: str, kind: str) -> Damage:
    """Something else in place of a file or folder of the workspace."""

    def put(around: Around) -> None:
        place = around.training / name
        place.parent.mkdir(parents=True, exist_ok=True)
        KINDS[kind](replaced(place), around.there)

    return put


def text_at(name: str, text: str) -> Damage:
    def write(around: Around) -> None:
        place = around.training / name
        place.parent.mkdir(parents=True, exist_ok=True)
        replaced(place).write_text(text)

    return write


def lock_held(around: Around) -> None:
    """By a process that never lets go of it."""
    file = around.training / "runs" / ".slot.lock"
    script = f"import filelock,sys,time; lock = filelock.FileLock({str(file)!r}); lock.acquire(); print('held', flush=True); time.sleep(3000)"
    holder = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline()
    around.afterwards.callback(holder.wait)
    around.afterwards.callback(holder.kill)


def read_only(around: Around) -> None:
    """As a disk that refuses every write: mounted so where that may be done, else by permissions, which root does not heed."""
    folder = str(around.training)
    if (
        os.geteuid() == 0
        and subprocess.run(["mount", "--bind", folder, folder], capture_output=True).returncode == 0
    ):
        around.afterwards.callback(subprocess.run, ["umount", folder], check=True)
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
    else:
        for each in (around.training, *(each for each in around.training.rglob("*") if each.is_dir())):
            around.afterwards.callback(each.chmod, each.stat().st_mode)
            each.chmod(0o555)
    try:
        (around.training / "runs" / "probe").touch()
    except OSError:
        return
    raise Unavailable(
        "This person may write everywhere, and nothing can be mounted.", "Run it as somebody else."
    )


def full_disk(around: Around) -> None:
    """A file system with no byte left."""
    kept = around.training.with_name("kept")
    around.training.rename(kept)
    around.training.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(around.training)], check=True)
    around.afterwards.callback(subprocess.run, ["umount", str(around.training)], check=True)
    shutil.copytree(kept, around.training, dirs_exist_ok=True)
    shutil.rmtree(kept)
    with open(around.training / "filler", "wb", buffering=0) as filler:
        for size in (65536, 4096, 1):
            try:
                while filler.write(b"\0" * size):
                    pass
            except OSError:
                continue


def many_runs(around: Around) -> None:
    """A thousand copies, each damaged: there is something to be set aside at every step."""
    for number in range(1000):
        copy = around.run.dir.parent / f"{number:012x}"
        copy.mkdir()
        (copy / "plan.yaml").write_text("{")
        (copy / "run.json").write_text("{")
        (copy / "events.jsonl").write_text("[1\n")


# Whether a word about it is owed: where nothing is wrong with what is read, nothing need be said.
QUIET: dict[str, Damage] = {
    "nothing in it at all": lambda around: shutil.rmtree(around.training),
    "queued.json with a command": of_run("queued.json with a command"),
    "launch.json and queued.json, open run": of_run("both, of a run that is open"),
    "a process of somebody else as trainer and keeper": of_run("run.json that names somebody's process as both"),
    "text as seq": of_run("text as seq"),
    "a deep event": of_run("a deep event"),
    "half a pair in a notice": of_run("half a pair in a notice"),
    "a line of 8 MiB": of_run("a line of 8 MiB"),
    "zeros at the end of the events": of_run("zeros at the end"),
    "a full disk": full_disk,
    "a far future": of_run("a far future"),
    "control is a pipe in an open run": of_run("control/: a pipe"),
    "cache/run_list.json nested 100,000 deep": text_at("cache/run_list.json", DEEP),
    "cache is a file": text_at("cache", ""),
    "experiments.jsonl is a pipe": at("experiments.jsonl", "a pipe"),
    "logs is a link to nothing": at("logs", "a link to nothing"),
    "an order nested 100,000 deep": text_at("runs/.queue/0123456789ab.json", DEEP),
    "an order that is a pipe": at("runs/.queue/0123456789ab.json", "a pipe"),
    "a data set whose metadata is a pipe": at("kohya/datasets/alice/metadata.yaml", "a pipe"),
    "a data set whose captions are /dev/zero": at("kohya/datasets/alice/captions.jsonl", "a link to endless zeros"),
    "the builder's own options nested 100,000 deep": text_at("kohya/character_options.user.json", DEEP),
    "the builder's own options are a pipe": at("kohya/character_options.user.json", "a pipe"),
}  # fmt: skip
TOLD: dict[str, Damage] = {
    "run.json cut": of_run("run.json: cut"),
    "run.json nested 100,000 deep": of_run("run.json: deep"),
    "run.json is a pipe": of_run("run.json: a pipe"),
    "plan.yaml cut": of_run("plan.yaml: cut"),
    "plan.yaml of aliases": of_run("a plan with aliases"),
    "events.jsonl is a pipe": of_run("events.jsonl: a pipe"),
    "events.jsonl is /dev/zero": of_run("events.jsonl: a link to endless zeros"),
    "events.jsonl is a folder": of_run("events.jsonl: a folder"),
    "unattended.json nested 100,000 deep": of_run("unattended.json: deep"),
    "prompts to be queued": of_run("prompts to be queued"),
    "1,000 damaged runs": many_runs,
    "the lock held by another process": lock_held,
    "the lock is a pipe": at("runs/.slot.lock", "a pipe"),
    "the queue is a file": text_at("runs/.queue", ""),
    "runs is a file": text_at("runs", ""),
    "runs is a link to nothing": at("runs", "a link to nothing"),
    "a read-only workspace": read_only,
}  # fmt: skip


def comfyui_starts(
    root: Path, *, only: str = "", part: tuple[int, int] = (1, 1)
) -> Iterator[Hindered | None]:
    """Every workspace once, those whose name has `only` in it; of them each n-th, from the `part`'s first."""
    first, of = part
    named = [(name, damage) for name, damage in {**TOLD, **QUIET}.items() if only in name]
    damages = dict(named[first - 1 :: of])
    whole = root / "whole"
    _make_whole(whole)
    host = ComfyHost(root / "comfy")
    usual = [_usual(host, whole) for _ in range(2)][1:]  # the first one fills the disk's cache
    print("| workspace | seconds | usual | what is said |\n| --- | --: | --: | --- |", flush=True)
    for number, (name, damage) in enumerate(damages.items(), start=1):
        if number % USUAL_EVERY == 0:
            usual.append(_usual(host, whole))
        yield _one(host, whole, name, damage, statistics.median(usual[-3:]))


def _make_whole(folder: Path) -> None:
    workspace = Workspace.at(folder)
    make_dataset(workspace, "alice")
    for seed in (1, 2):
        plan = rehearsed_plan(dataset="alice", max_train_steps=20, seed=seed)
        story = rehearse(workspace, plan, every=10).start().train(1, 20).finish("completed")
        ended = {"ended": time.time(), "exit_code": 0}
        story.run.write_identity(ChildIdentity(2**22 - 1, time.time() - 60, "", ("python",), 1, **ended))


def _usual(host: ComfyHost, whole: Path) -> float:
    with _placed(host, whole) as _:
        return _timed(host)


def _one(host: ComfyHost, whole: Path, name: str, damage: Damage, usual: float) -> Hindered | None:
    try:
        taken, said = _tried(host, whole, name, damage)
        if taken > usual + LATER_S:  # or the machine did something else just then: both once more
            usual = max(usual, _usual(host, whole))
            taken = min(taken, _tried(host, whole, name, damage)[0])
    except Unavailable as error:
        return Hindered(name, f"ComfyUI did not start: {error}"[-2000:])
    print(f"| {name} | {taken:.1f} | {usual:.1f} | {said[:110]} |", flush=True)
    if taken > usual + LATER_S:
        return Hindered(name, f"{taken:.1f} s, {usual:.1f} s are usual.")
    return Hindered(name, "Nothing was said of it.") if name in TOLD and not said else None


def _tried(host: ComfyHost, whole: Path, name: str, damage: Damage) -> tuple[float, str]:
    """Seconds until it answers on a workspace with that damage, and what is said of it."""
    with _placed(host, whole) as around:
        damage(around)
        try:
            return _timed(host, stop=False), _heard(host, around, wanted=name in TOLD)
        finally:
            host.stop()


@contextmanager
def _placed(host: ComfyHost, whole: Path) -> Iterator[Around]:
    """A copy of the whole workspace in this ComfyUI's base folder; whatever was done to it is undone at the end."""
    training = host.workspace_dir
    shutil.rmtree(training, ignore_errors=True)
    training.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(whole, training, symlinks=True)
    outside = host.base_dir / "outside"
    shutil.rmtree(outside, ignore_errors=True)
    first = next((training / "runs").glob("*/*/plan.yaml")).parent
    with ExitStack() as afterwards:
        bystander = subprocess.Popen(["sleep", "3000"], start_new_session=True)
        afterwards.callback(bystander.wait)
        afterwards.callback(bystander.kill)
        yield Around(
            training,
            RunFolder(first),
            There(host.base_dir / "somebody-was-here", make_outside(outside), bystander.pid),
            afterwards,
        )


def _timed(host: ComfyHost, *, stop: bool = True) -> float:
    began = time.monotonic()
    host.start()
    taken = time.monotonic() - began
    if stop:
        host.stop()
    return taken


def _heard(host: ComfyHost, around: Around, *, wanted: bool) -> str:
    """What the panel or the log says of the damage; waited for only where something must be said. The host must live and answer."""
    until = time.monotonic() + (HEARD_WITHIN_S if wanted else 1.0)
    host.client.get("object_info/WizdroidKohyaTrain")
    while True:
        said = _said(host, around.run.run_id)
        if said or time.monotonic() > until:
            return said
        time.sleep(0.3)


def _said(host: ComfyHost, run_id: str) -> str:
    try:
        told = host.client.get("wizdroid/training/runs")
    except urllib.error.HTTPError as error:
        answer = json.loads(error.read())
        return f"{answer['problem']} {answer['fix']}" if error.code < 600 and error.code != 500 else ""
    aside = [f"Set aside: {each['problem']}" for each in told["aside"].values()]
    aside += [f"Set aside: {line['problem']}" for line in told["runs"] if line.get("problem")]
    aside += [f"Needs a decision: {ask['kind']} of {ask['run_id']}." for ask in told["asks"]]
    if not aside:
        aside += [each["problem"] for each in _damages(host, run_id)]
    logged = [line for line in host.new_log().splitlines() if "workspace" in line or "set aside" in line]
    return "; ".join(dict.fromkeys([*aside[:2], *logged[:1]]))


def _damages(host: ComfyHost, run_id: str) -> list[dict[str, Any]]:
    try:
        return list(host.client.get(f"wizdroid/training/runs/{run_id}")["damages"])
    except urllib.error.HTTPError:
        return []
