"""Every hostile or damaged run folder, side by side in one workspace: nothing of them acts, none hides or hinders another run."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from kohya_bridge.__main__ import main
from kohya_bridge.desk import Desk
from kohya_bridge.errors import BridgeError
from kohya_bridge.run_folder import RunFolder
from kohya_bridge.runs.damage import damages_of
from kohya_bridge.runs.run_list import RunList
from kohya_bridge.runs.run_view import RunViews
from kohya_bridge.steering.starting import startable
from kohya_bridge.workspace import Workspace
from tests.desk.conftest import BASE, end_everything, make_dataset, request, write_base_model
from tests.doubles.quick_engine import QuickEngine
from tests.hostile.received_runs import ATTACKS, There, make_outside, untouched

pytestmark = pytest.mark.campaign
LONGEST_S = 5.0
"""No verb on one run may take longer, whatever lies in its folder. (A pipe that is opened takes for ever.)"""


@dataclass
class World:
    """A workspace with a sound run, a folder for each attack, and what is around it."""

    desk: Desk
    there: There
    sound: RunFolder
    hostile: dict[str, RunFolder]
    before: dict[str, bytes]
    views: RunViews


def make_world(root: Path, names: list[str], bystander: int) -> World:
    workspace = Workspace.at(root / "training")
    make_dataset(workspace, "alice")
    write_base_model(root / "models" / "checkpoints" / BASE)
    desk = Desk(
        workspace,
        checkpoint_dirs=[root / "models" / "checkpoints"],
        tokenizer_dir=root / "models" / "tokenizer",
        engines={"native": QuickEngine()},
    )
    sound = desk.submit(request())
    assert desk.wait(sound.run_id, poll_s=0.05).status == "completed"
    there = There(root / "somebody-was-here", make_outside(root / "outside"), bystander)
    hostile = {name: _placed(desk, sound, name, seed, there) for seed, name in enumerate(names, start=1000)}
    views = RunViews(workspace, RunList(workspace))
    return World(desk, there, sound, hostile, untouched(there), views)


def _placed(desk: Desk, sound: RunFolder, name: str, seed: int, there: There) -> RunFolder:
    """A run of its own plan, completed like the sound one, and then what the attack makes of its folder."""
    plan = sound.plan()
    plan = plan.model_copy(update={"settings": plan.settings.model_copy(update={"seed": seed})})
    run = RunFolder(desk.workspace.run_dir(plan.character, plan.run_id))
    shutil.copytree(sound.dir, run.dir, symlinks=True)
    run.plan_file.write_text(plan.to_yaml())
    ATTACKS[name](run.dir, there)
    return run


@pytest.fixture(scope="module")
def bystander():
    process = subprocess.Popen(["sleep", "3000"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def world(tmp_path_factory, bystander):
    made = make_world(tmp_path_factory.mktemp("hostile"), list(ATTACKS), bystander.pid)
    yield made
    made.desk.stop_watching()
    end_everything(made.desk)


def faults_of(runs: dict[str, RunFolder], verb) -> list[str]:
    """What went wrong with `verb` on any of the runs: an error that no person can act on, or one that took too long."""
    faults = []
    for name, run in runs.items():
        began = time.monotonic()
        try:
            verb(run)
        except BridgeError as error:
            if not error.problem:
                faults.append(f"{name}: an error without words")
        except Exception as error:
            faults.append(f"{name}: {type(error).__name__}: {error}")
        if time.monotonic() - began > LONGEST_S:
            faults.append(f"{name}: {time.monotonic() - began:.1f} s")
    return faults


def as_strict_json(text: str):
    def refuse(word):
        raise ValueError(f"{word} is no JSON")

    text.encode("utf-8", "replace")
    return json.loads(text, parse_constant=refuse)


def is_unharmed(world: World, bystander) -> None:
    assert not world.there.canary.exists()
    assert untouched(world.there) == world.before
    assert bystander.poll() is None
    assert world.sound.state().status == "completed"
    assert damages_of(world.sound) == []


def test_the_workspace_is_brought_in_line_twice_and_the_sound_run_stays_as_it_is(world, bystander):
    for _ in range(2):
        world.desk.reconcile()
        world.desk.slot.advance()
    assert world.desk.queue() == []
    is_unharmed(world, bystander)


def test_every_run_is_in_the_list_and_the_list_is_json(world, bystander):
    listed = RunList(world.desk.workspace)
    told = as_strict_json(listed.encoded().decode())
    named = {
        name for name, run in world.hostile.items() if run.plan_file.exists() or run.plan_file.is_symlink()
    }
    assert {line["run_id"] for line in told} >= {world.hostile[name].run_id for name in named}
    assert [row.status for row in world.desk.runs() if row.run_id == world.sound.run_id] == ["completed"]
    is_unharmed(world, bystander)


LOOKS = {
    "state": lambda world, run: world.desk.state(run.run_id),
    "view": lambda world, run: json.dumps(world.views.snapshot(run)),
    "damages": lambda world, run: damages_of(run),
    "asks": lambda world, run: world.desk.answers.ask(run, "x"),
    "alive": lambda world, run: world.desk.is_alive(run.run_id),
    "log": lambda world, run: run.log_tail(),
    "check": lambda world, run: startable(run, world.desk.engines, world.desk.places),
    "checkpoint": lambda world, run: run.checkpoint("best"),
}
STEERING = {
    "stop": lambda world, run: world.desk.stop(run.run_id),
    "stop at once": lambda world, run: world.desk.stop(run.run_id, at_once=True),
    "pause": lambda world, run: world.desk.pause(run.run_id),
    "unpause": lambda world, run: world.desk.unpause(run.run_id),
    "checkpoint now": lambda world, run: world.desk.checkpoint_now(run.run_id),
    "move": lambda world, run: world.desk.move(run.run_id, 1),
}


@pytest.mark.parametrize("verb", LOOKS)
def test_looking_at_each_says_something_or_says_why_not(world, bystander, verb):
    assert faults_of(world.hostile, lambda run: LOOKS[verb](world, run)) == []
    is_unharmed(world, bystander)


@pytest.mark.parametrize("verb", STEERING)
def test_steering_each_reaches_nobody_else(world, bystander, verb):
    assert faults_of(world.hostile, lambda run: STEERING[verb](world, run)) == []
    is_unharmed(world, bystander)


@pytest.mark.parametrize("words", [["runs"], ["status"], ["advance"], ["runs", "--json"]], ids=" ".join)
def test_the_shell_has_an_answer(world, bystander, words, capsys):
    assert main([*words, "--workspace", str(world.desk.workspace.root)]) == 0
    assert world.sound.run_id in capsys.readouterr().out or words[0] != "runs"
    is_unharmed(world, bystander)


def test_the_shell_shows_each(world, bystander, capsys):
    words = ["--workspace", str(world.desk.workspace.root), "--json"]
    some = dict(list(world.hostile.items())[::40])
    codes = {name: main(["status", run.run_id, *words]) for name, run in some.items()}
    assert [name for name, code in codes.items() if code == 70] == []
    is_unharmed(world, bystander)


def test_a_new_run_trains_beside_them_and_its_keeper_starts_the_next_one(world, bystander):
    heard = []
    world.desk.start_watching(lambda run, event: heard.append((run, event["kind"])))
    first = world.desk.submit(request(settings={"seed": 1}))
    second = world.desk.submit(request(settings={"seed": 2}))
    for run in (first, second):
        assert world.desk.wait(run.run_id, poll_s=0.05).status == "completed"
    until = time.monotonic() + 20
    while (second, "run_finished") not in heard:
        assert time.monotonic() < until
        time.sleep(0.05)
    is_unharmed(world, bystander)


def test_what_can_be_mended_is_mended_and_what_is_left_can_be_deleted(world, bystander):
    damaged = {name: run for name, run in world.hostile.items() if damages_of(run)}
    assert len(damaged) > 150
    some = dict(list(damaged.items())[::12])
    assert faults_of(some, lambda run: world.desk.answers.mend(run)) == []
    left = {name: each.file for name, run in some.items() for each in damages_of(run) if not each.is_a_part}
    assert set(left.values()) <= {"plan.yaml"}, left
    kept = {name: run for name, run in world.hostile.items() if run.dir.exists()}
    deletable = {name: run for name, run in list(kept.items())[::10] if run.plan_file.exists()}
    faults = faults_of(deletable, lambda run: world.desk.delete(run.run_id))
    assert faults == [] and not any(run.dir.exists() for run in deletable.values())
    is_unharmed(world, bystander)
