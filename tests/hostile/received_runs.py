"""Run folders that a person may be sent, or that a disk may leave: each a sound, completed run with one thing done to it.

In: a copy of a sound run's folder, and what lies around it. Out: the folder as it would be received or found. `ATTACKS` lists all of
them by name; `THERE` is what an attack may aim at and must not reach.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kohya_bridge import processes


@dataclass(frozen=True)
class There:
    """What is around a received folder: a file that hostile commands would write, a folder that is none of its business with
    `secret.txt`, `model.safetensors` and `folder/` in it, and somebody else's process."""

    canary: Path
    outside: Path
    bystander: int


Attack = Callable[[Path, There], object]
DEEP = "[" * 100_000
TEXTS = {
    "empty": "",
    "cut": '{"a": [1, 2',
    "a list": "[]",
    "a number": "7",
    "null": "null",
    "deep": DEEP,
    "deep and closed": DEEP + "]" * 100_000,
    "no text": "\xff\xfe\x00\x81",
    "long numbers": '{"a": ' + "9" * 5000 + "}",
    "not finite": '{"a": NaN, "b": 1e999}',
    "half a pair": '{"a": "\\ud800"}',
    "an empty object": "{}",
}
RECORDS = (
    "run.json", "events.jsonl", "plan.yaml", "child.json", "best.json", "environment.json", "lending.json", "losses.json",
    "stopping.json", "unattended.json", "choices.json", "train.log",
)  # fmt: skip
FOLDERS = ("control", "checkpoints", "states", "samples", "held_prompts", "staging", "package")


def text_in(name: str, text: str) -> Attack:
    return lambda run, there: replaced(run / name).write_text(text, "latin-1")


def replaced(place: Path) -> Path:
    """The path, with nothing there."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
    return place


KINDS: dict[str, Callable[[Path, There], object]] = {
    "a pipe": lambda place, there: os.mkfifo(place),
    "a folder": lambda place, there: place.mkdir(),
    "a link to a file outside": lambda place, there: place.symlink_to(there.outside / "secret.txt"),
    "a link to a folder outside": lambda place, there: place.symlink_to(there.outside / "folder"),
    "a link to endless zeros": lambda place, there: place.symlink_to("/dev/zero"),
    "a link to itself": lambda place, there: place.symlink_to(place.name),
    "a link to nothing": lambda place, there: place.symlink_to("nowhere/at/all"),
}


def kind_at(name: str, kind: str) -> Attack:
    return lambda run, there: KINDS[kind](replaced(run / name), there)


def line_added(line: str) -> Attack:
    def add(run: Path, there: There) -> None:
        with open(run / "events.jsonl", "ab") as events:
            events.write(line.replace("OUTSIDE", str(there.outside)).encode("utf-8", "surrogatepass") + b"\n")

    return add


def plan_with(**changes: Any) -> Attack:
    """`plan.yaml` with other values; JSON is YAML."""

    def change(run: Path, there: There) -> None:
        import yaml

        told = yaml.safe_load((run / "plan.yaml").read_text("utf-8"))
        for dotted, value in changes.items():
            place = told
            *path, last = dotted.split("__")
            for part in path:
                place = place[part]
            place[last] = value
        (run / "plan.yaml").write_text(json.dumps(told), "utf-8")

    return change


def command(there: There) -> dict[str, Any]:
    words = [sys.executable, "-c", f"open({str(there.canary)!r}, 'w').write('!')"]
    return {"place": 0.0, "attempt": 9, "argv": words, "cwd": "/", "environment": {}, "time": 1.0}


def commands(*names: str) -> Attack:
    def add(run: Path, there: There) -> None:
        for name in names:
            (run / name).write_text(json.dumps(command(there)))

    return add


def commands_that_name_the_folder(run: Path, there: There) -> None:
    told = command(there)
    (run / "queued.json").write_text(json.dumps({**told, "argv": [*told["argv"], str(run)]}))


def process(role: str, **more: Any) -> Attack:
    def name(run: Path, there: There) -> None:
        mark = processes.mark(there.bystander).to_json()
        gone = {**mark, "pid": 2**30}
        trainer, keeper = (
            (mark, gone) if role == "trainer" else (gone, mark) if role == "keeper" else (mark, mark)
        )
        told = {
            **trainer,
            "argv": [str(run)],
            "attempt": 1,
            "keeper": keeper,
            "ended": None,
            "exit_code": None,
            **more,
        }
        (run / "run.json").write_text(json.dumps(told))

    return name


PROMPT = {"1": {"class_type": "SaveImage", "inputs": {}}}


def prompts(run: Path, there: There) -> None:
    (run / "held_prompts").mkdir(exist_ok=True)
    (run / "held_prompts" / "a.json").write_text(
        json.dumps({"prompt": PROMPT, "client_id": None, "extra_pnginfo": None})
    )
    grid = {"prompt": {"g": {"class_type": "PreviewAny", "inputs": {}}}, "grids": ["g"], "over": {}}
    (run / "unattended.json").write_text(json.dumps(grid))


def asked(name: str, content: str) -> Attack:
    def ask(run: Path, there: There) -> None:
        (run / "control").mkdir(exist_ok=True)
        (run / "control" / name).write_text(content)

    return ask


def open_attempt(then: Attack) -> Attack:
    """As a run that was copied while it trained: nobody closed the attempt, and the events end in the middle."""

    def make(run: Path, there: There) -> None:
        told = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps({**told, "ended": None, "exit_code": None}))
        lines = (run / "events.jsonl").read_text("utf-8").splitlines()
        kept = [line for line in lines if '"run_finished"' not in line]
        (run / "events.jsonl").write_text("\n".join(kept) + "\n")
        then(run, there)

    return make


EVENT = '{"v":1,"seq":900,"time":1000.5,"kind":'
ATTACKS: dict[str, Attack] = {
    # What would act by itself.
    "queued.json with a command": commands("queued.json"),
    "launch.json with a command": commands("launch.json"),
    "both, of a run that is open": open_attempt(commands("queued.json", "launch.json")),
    "queued.json that names this very folder": commands_that_name_the_folder,
    "run.json that names somebody's process as trainer": process("trainer"),
    "run.json that names somebody's process as keeper": process("keeper"),
    "run.json that names somebody's process as both": process("both"),
    "run.json with more than there should be": process("trainer", more={"a": 1}, argv=5),
    "prompts to be queued": prompts,
    "prompts of a run that is open": open_attempt(prompts),
    "a stop with rungs of its own": open_attempt(asked("stop", '{"rungs": [{"how": "explode", "seconds": 0}]}')),
    "a stop with damaged rungs": asked("stop", '{"rungs": [7]}'),
    "every request at once": lambda run, there: [asked(each, "{}")(run, there) for each in ("stop", "pause", "lend", "sample")],
    # Events.
    "text as seq": line_added('{"v":1,"seq":"900","time":1,"kind":"queued","position":1}'),
    "a huge seq": line_added(f'{{"v":1,"seq":{10**400},"time":1,"kind":"queued"}}'),
    "a seq at the end of what counts": line_added(f'{{"v":1,"seq":{2**53 - 1},"time":1,"kind":"queued"}}'),
    "time that is none": line_added('{"v":1,"seq":900,"time":NaN,"kind":"queued"}'),
    "a far future": line_added('{"v":1,"seq":900,"time":1e300,"kind":"queued"}'),
    "an event without its step": line_added(EVENT + '"progress"}'),
    "a step that is a list": line_added(EVENT + '"progress","step":[1]}'),
    "memory in words": line_added(EVENT + '"progress","step":1,"vram_gib":"much"}'),
    "a verdict that nobody knows": line_added(EVENT + '"run_finished","outcome":"exploded"}'),
    "a run that ended again": line_added(EVENT + '"run_finished","outcome":"completed","step":12}'),
    "a checkpoint by an absolute path": line_added(EVENT + '"checkpoint","step":12,"file":"OUTSIDE/model.safetensors","sha256":"0","final":true}'),
    "a checkpoint by a path upwards": line_added(EVENT + '"checkpoint","step":12,"file":"../../../outside/model.safetensors","sha256":"0"}'),
    "a best by a path upwards": line_added(EVENT + '"best","step":12,"file":"../../../outside/model.safetensors","reason":"x"}'),
    "a sample by an absolute path": line_added(EVENT + '"sample","step":12,"file":"OUTSIDE/secret.txt","prompt":"x"}'),
    "a deep event": line_added(DEEP),
    "half a pair in a notice": line_added(EVENT + '"notice","level":"info","problem":"\\ud800","fix":""}'),
    "a line of 8 MiB": line_added('{"x": "' + "a" * (8 << 20)),
    "no end of line": lambda run, there: (run / "events.jsonl").write_bytes((run / "events.jsonl").read_bytes()[:-9]),
    "zeros at the end": line_added("\0" * 5000),
    # Plans.
    "a plan of another run": plan_with(settings__seed=12345),
    "a plan whose character leads out": plan_with(character="../../outside"),
    "a plan whose dataset leads out": plan_with(dataset__slug="../../../outside"),
    "a plan whose base is a path": plan_with(base_model__name="/etc/passwd"),
    "a plan of an engine that nobody has": plan_with(engine="evil"),
    "a plan with options that load code": plan_with(engine="kohya", kohya={"dataset_class": "os.system", "network_module": "evil"}),
    "a plan of numbers without end": plan_with(settings__max_train_steps=10**30),
    "a plan with aliases": text_in("plan.yaml", "a: &a [x]\nb: [*a, *a]\n"),
    "a plan with a date that is none": text_in("plan.yaml", "version: 1\ncharacter: 2001-99-99\n"),
    "a plan of 2 MiB": text_in("plan.yaml", "# " + "x" * (2 << 20)),
    "a plan that makes objects": text_in("plan.yaml", "a: !!python/object/apply:os.system [\"true\"]\n"),
    # States, and what lies deeper.
    "a state that is a link": lambda run, there: (run / "states" / "step00000099").symlink_to(there.outside / "folder"),
    "a state that is a file": lambda run, there: (run / "states" / "step00000099").write_text(""),
    "a checkpoint that is a link": lambda run, there: [
        each.unlink() or each.symlink_to(there.outside / "model.safetensors") for each in (run / "checkpoints").iterdir()
    ],
    "a checkpoint that is a pipe": lambda run, there: [
        each.unlink() or os.mkfifo(each) for each in (run / "checkpoints").iterdir()
    ],
    "no checkpoints": lambda run, there: shutil.rmtree(run / "checkpoints"),
    "a link where the best is": lambda run, there: replaced(run / "best.safetensors").symlink_to(there.outside / "model.safetensors"),
    "links under temporary names": lambda run, there: [
        (run / name).symlink_to(there.outside / "secret.txt")
        for name in ("losses.json.tmp", ".best.tmp", ".run.json.tmp", "checkpoints/.writing.safetensors")
    ],
    "a tensorboard that is a link": lambda run, there: replaced(run / "tensorboard").symlink_to(there.outside / "folder"),
    # Every record with every text, every record and folder as what it is not.
    **{f"{name}: {what}": text_in(name, text) for name in RECORDS for what, text in TEXTS.items()},
    **{f"{name}: {kind}": kind_at(name, kind) for name in RECORDS for kind in KINDS},
    **{f"open, {name}: {what}": open_attempt(text_in(name, TEXTS[what])) for name in RECORDS[3:] for what in ("cut", "a list", "deep")},
    **{f"{name}/: a file": text_in(name, "x") for name in FOLDERS},
    **{f"{name}/: {kind}": kind_at(name, kind) for name in FOLDERS for kind in KINDS if kind != "a folder"},
}  # fmt: skip


def untouched(there: There) -> dict[str, bytes]:
    """The content of everything outside; equal before and after, or somebody reached it."""
    return {
        str(each.relative_to(there.outside)): each.read_bytes()
        for each in sorted(there.outside.rglob("*"))
        if each.is_file()
    }


def make_outside(folder: Path) -> Path:
    """A folder of somebody's own files."""
    (folder / "folder" / "step00000099").mkdir(parents=True)
    (folder / "secret.txt").write_text("secret")
    (folder / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    (folder / "folder" / "kept.txt").write_text("kept")
    return folder
