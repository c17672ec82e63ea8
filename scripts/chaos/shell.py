"""The shell on a workspace in which everything that other people write tries to steer the terminal.

In: a seed and a count. Out: a `Tried` for each spoiled file, with every verb of the shell done on it, in words and as JSON. No character that
steers a terminal comes out, no verb ends in the code for a fault of this program, none hangs.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from kohya_bridge.__main__ import main
from kohya_bridge.cli import exit_codes
from kohya_bridge.workspace import Workspace
from tests.desk.conftest import BASE
from tests.doubles.quick_engine import QuickEngine
from tests.planting import make_finished, the_two_runs

from .tried import CRASHED, GOT_IN, HUNG, Tried, crowding

STEERING = (
    "\x1b[2J\x1b[31m", "\x1b]0;title\x07", "\x1b]8;;http://x\x1b\\x", "\x9b31m", "\x9d0;x\x9c", "\x08\x08\x08", "\x7f", "\u202egnp.exe", "\u2066x\u2069",
    "\u2028x", "\ufeff", "\x0b\x0c", "\x85x", "\rhidden", "\U000e0041", "\x00",
)  # fmt: skip
APART = {"doctor", "validate", "regress", "autocaption", "reproduce", "caption"}
"""Verbs that ask torch, a model or a renderer, which takes seconds; what they say goes through the same door."""

LONGEST_S = 20.0


def shell(root: Path, *, count: int, seed: int) -> Iterator[Tried]:
    finished = make_finished(root / "finished")
    for number in range(count):
        yield _spoiled(finished, root / f"{number}", number, random.Random(f"{seed}-{number}"))


def _spoiled(finished: Path, place: Path, number: int, dice: random.Random) -> Tried:
    shutil.copytree(finished, place, symlinks=True)
    tried = Tried(f"workspace {number} ({_spoil(place, dice)})", acts=0)
    for words in _command_lines(place):
        for more in ([], ["--json"]):
            tried.acts += 1
            began = time.monotonic()
            _run([*words, *more], place, tried)  # in this thread: verbs that follow a run listen to Ctrl-C
            if time.monotonic() - began > LONGEST_S * crowding():
                tried.note(HUNG, f"{' '.join(words)}: {time.monotonic() - began:.0f} s")
    shutil.rmtree(place)
    return tried


def _run(words: list[str], place: Path, tried: Tried) -> None:
    options = [
        "--workspace", str(place / "training"), "--checkpoints", str(place / "models" / "checkpoints"), "--loras", str(place / "models" / "loras"),
    ]  # fmt: skip
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = main([words[0], *options, *words[1:]], engines={"native": QuickEngine()})
        except SystemExit as left:  # argparse says that the command line is wrong
            code = int(str(left.code))
    steering = [
        each
        for each in said.getvalue()
        if each not in "\n\t\u200c\u200d" and unicodedata.category(each) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    ]
    if steering:
        tried.note(GOT_IN, f"{' '.join(words)}: {steering[0]!r} came out")
    if code in (exit_codes.UNEXPECTED, exit_codes.USAGE):
        tried.note(CRASHED, f"{' '.join(words)}: exit code {code}: {said.getvalue()[-300:]!r}")


def _command_lines(place: Path) -> list[list[str]]:
    """Every verb that is not `APART`, those that end a run last."""
    run, other = (each.run_id for each in the_two_runs(place))
    config, preset = place / "config.yaml", place / "preset.json"
    config.write_text(
        yaml.safe_dump(
            {
                "dataset": "alice",
                "base_model": BASE,
                "settings": {"max_train_steps": 12, "save_every_n_steps": 4},
            }
        )
    )
    return [
        ["datasets"], ["lint", "alice"], ["coverage", "alice"], ["triggers"], ["diff", "alice", "alice"], ["mark", "alice"], ["mark", "alice", "--name", "a"],
        ["runs"], ["runs", "alice"], ["runs", "diff", run, other], ["status"], ["status", run], ["watch", run], ["experiments"], ["tensorboard", run],
        ["plan", str(config)], ["train", str(config)], ["adopt", str(preset), "--dataset", "alice"], ["package", run], ["stop", run], ["pause", run],
        ["unpause", run], ["move", run, "1"], ["advance"], ["import", str(place / "training" / "kohya" / "datasets" / "alice"), "bob"],
        ["export", "alice", str(place / "out")], ["mend", run], ["resume", run, "--wait"], ["delete", run], ["delete", other], ["runs"],
    ]  # fmt: skip


def _spoil(place: Path, dice: random.Random) -> str:
    """Let texts of one kind of file steer; the files stay what they are otherwise."""
    run, _ = the_two_runs(place)
    dataset = Workspace.at(place / "training").dataset_dir("alice")
    letters = dice.choice(STEERING)
    told = {
        "LoRA_type": "Standard",
        "pretrained_model_name_or_path": f"x{letters}.safetensors",
        f"odd{letters}": letters,
        "optimizer": letters,
    }
    (place / "preset.json").write_text(json.dumps(told))
    kind = dice.choice(("captions", "metadata", "events", "log", "records", "plan", "names"))
    if kind == "captions":
        _each_line(dataset / "captions.jsonl", letters)
    elif kind == "metadata":
        metadata = yaml.safe_load((dataset / "metadata.yaml").read_text("utf-8"))
        (dataset / "metadata.yaml").write_text(
            json.dumps(_steered(metadata, letters, keys=("slug",))), "utf-8"
        )
    elif kind == "events":
        _each_line(run.dir / "events.jsonl", letters)
        run.append("notice", level="warning", problem=f"x{letters}", fix=letters, code=letters)
    elif kind == "log":
        (run.dir / "train.log").write_bytes(
            f"Error: {letters} RuntimeError: CUDA{letters}\n".encode("utf-8", "surrogatepass")
        )
    elif kind == "records":
        for name in ("best.json", "environment.json", "choices.json", "run.json"):
            file = run.dir / name
            if file.is_file():
                file.write_text(json.dumps(_steered(json.loads(file.read_text("utf-8")), letters)), "utf-8")
    elif kind == "plan":
        plan = yaml.safe_load((run.dir / "plan.yaml").read_text("utf-8"))
        (run.dir / "plan.yaml").write_text(json.dumps(_steered(plan, letters)), "utf-8")
    else:
        odd = letters.replace("/", "").replace("\x00", "")
        (dataset / "images" / "0001.png").rename(dataset / "images" / f"0001{odd}.png")
        (run.dir / f"odd{odd}.json").write_text("{")
        (Workspace.at(place / "training").datasets_dir / f"odd{odd}").mkdir()
    return f"{kind} with {letters!r}"


def _each_line(file: Path, letters: str) -> None:
    lines = file.read_text("utf-8").splitlines()
    kept = ("file_name", "kind", "file", "sha256", "outcome", "dir")
    spoilt = [json.dumps(_steered(json.loads(each), letters, keys=kept)) for each in lines]
    file.write_text("\n".join(spoilt) + "\n", "utf-8")


def _steered(told: Any, letters: str, *, keys: tuple[str, ...] = ()) -> Any:
    """Every text with the letters in it, but those under `keys`."""
    if isinstance(told, dict):
        return {
            name: each if name in keys else _steered(each, letters, keys=keys) for name, each in told.items()
        }
    if isinstance(told, list):
        return [_steered(each, letters, keys=keys) for each in told]
    return f"{told[:4]}{letters}{told[4:]}" if isinstance(told, str) else told
