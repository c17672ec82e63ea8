"""The kohya engine under the desk: detached, stopped, resumed, and never trained twice."""

from __future__ import annotations

import os
import pickle
import shutil
import sys

import pytest

from kohya_bridge.__main__ import main
from kohya_bridge.desk import Desk
from kohya_bridge.engines.kohya.engine import KohyaEngine
from kohya_bridge.run_folder import RunFolder
from kohya_bridge.workspace import Workspace
from tests.desk.conftest import BASE, end_everything, environment_of, make_dataset, request, write_base_model
from tests.kohya_bench import DOUBLE, TINY_NUMBERS, make_bench

pytestmark = pytest.mark.torch


LONG = {**TINY_NUMBERS, "max_train_steps": 120, "save_every_n_steps": 40}


def make_desk(root):
    """A desk with a data set and a base model, all below `root`."""
    make_bench(root)
    make_dataset(Workspace.at(root / "training"), "alice", pictures=4)
    write_base_model(root / "models" / "checkpoints" / BASE)
    return desk_at(root)


def desk_at(root):
    return Desk(
        Workspace.at(root / "training"),
        checkpoint_dirs=[root / "models" / "checkpoints"],
        tokenizer_dir=root / "comfy" / "sd1_tokenizer",
        engines={"kohya": KohyaEngine()},
    )


@pytest.fixture(scope="module")
def what_is_remembered(tmp_path_factory):
    """The cache of a workspace whose desk has asked once what each question to sd-scripts' interpreter costs a torch for: the
    device, and the options that its scripts take."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KOHYA_SD_SCRIPTS", str(DOUBLE))
        patch.setenv("KOHYA_PYTHON", sys.executable)
        desk = make_desk(tmp_path_factory.mktemp("asked"))
        assert not desk.check(request(engine="kohya", settings=TINY_NUMBERS)).blocking
    assert {each.name for each in desk.workspace.cache_dir.iterdir()} >= {"kohya"}
    return desk.workspace.cache_dir


@pytest.fixture
def desk(tmp_path, double, what_is_remembered):
    made = make_desk(tmp_path)
    shutil.copytree(what_is_remembered, made.workspace.cache_dir)
    yield made
    end_everything(made)


def test_a_run_is_stopped_from_outside_resumed_by_the_same_request_and_then_only_returned(desk):
    wanted = request(engine="kohya", settings=LONG)
    run = desk.submit(wanted)
    desk.wait(run.run_id, on_state=lambda state: None, should_stop=lambda: run.state().step >= 5, poll_s=0.05)
    stopped = desk.state(run.run_id)
    assert stopped.status == "stopped" and 5 <= stopped.step < 120
    assert desk.submit(wanted).run_id == run.run_id
    finished = desk.wait(run.run_id, poll_s=0.05)
    assert finished.status == "completed" and finished.attempt == 2 and finished.resumed_from == stopped.step
    assert [row[0] for row in finished.losses] == list(range(1, 121))
    assert (run.dir / "best.safetensors").exists()
    assert desk.submit(wanted).state().attempt == 2


class Payload:
    """A pickle that runs a program when it is loaded in full."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, what_is_remembered):
    """The folder of a desk with one run, which was stopped soon after its fifth step."""
    root = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KOHYA_SD_SCRIPTS", str(DOUBLE))
        patch.setenv("KOHYA_PYTHON", sys.executable)
        desk = make_desk(root)
        shutil.copytree(what_is_remembered, desk.workspace.cache_dir)
        run = desk.submit(request(engine="kohya", settings=LONG))
        desk.wait(run.run_id, should_stop=lambda: run.state().step >= 5, poll_s=0.05)
        end_everything(desk)
    return root


@pytest.mark.parametrize("name", ["random_states_0.pkl", "optimizer.bin", "scheduler.bin"])
def test_a_state_that_was_passed_on_runs_no_code_when_it_is_resumed_from(stopped, double, tmp_path, name):
    shutil.copytree(stopped, tmp_path / "there", symlinks=True)
    desk = desk_at(tmp_path / "there")
    (run,) = map(RunFolder, desk.workspace.run_dirs())
    assert desk.state(run.run_id).status == "stopped"
    _, folder = run.latest_state()
    canary = tmp_path / "somebody-was-here"
    assert (folder / name).is_file()
    (folder / name).write_bytes(pickle.dumps(Payload(canary)))
    desk.resume(run.run_id)
    assert environment_of(run)["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] == "1"
    ended = desk.wait(run.run_id, poll_s=0.05).status
    end_everything(desk)
    assert not canary.exists()
    # accelerate goes on without random states that it can't read, with a line in its log; all else ends the attempt
    assert ended == ("completed" if name == "random_states_0.pkl" else "failed")


def test_a_plan_that_needs_sd_scripts_takes_the_kohya_engine_by_itself_and_says_why(desk):
    check = desk.check(request(settings=TINY_NUMBERS, kohya={"loss_type": "huber"}))
    assert check.plan.engine == "kohya"
    assert check.engine_reason == (
        "Engine kohya: it trains Stable Diffusion 1.x, and nothing in this plan needs another one."
    )


def test_what_the_engine_objects_to_is_refused_before_anything_starts(desk):
    check = desk.check(request(settings=TINY_NUMBERS, kohya={"output_dir": "/x", "los_type": "l2"}))
    assert {each.code for each in check.blocking} == {"option_refused", "option_unknown"}


def test_a_run_that_ran_out_of_memory_is_shown_with_its_ladder_of_safer_settings(desk, monkeypatch, capsys):
    monkeypatch.setenv("FAKE_SD_SCRIPTS", "oom 3")
    run = desk.submit(request(engine="kohya", settings=TINY_NUMBERS))
    assert desk.wait(run.run_id, poll_s=0.05).code == "out_of_memory"
    assert main(["status", run.run_id, "--workspace", str(desk.workspace.root)]) == 0
    said = capsys.readouterr().out
    assert "Recompute activations (gradient_checkpointing: True). A third to a half more time" in said
    assert "Cache latents" not in said  # the plan does that already
