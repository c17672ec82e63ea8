"""ComfyUI dies, or is told to cancel, while a run trains: nothing is lost and nothing is done twice."""

import json
import signal
import time

import pytest

from kohya_bridge.desk import Desk
from kohya_bridge.runs.unattended import read
from kohya_bridge.workspace import Workspace
from scripts.host.comfy_client import outcome
from tests.host.canvas import id_of, only_training, said, whole_job
from tests.host.test_training_in_the_background import held_history, runs, wait_for

pytestmark = pytest.mark.host


def test_a_run_outlives_a_killed_comfyui_and_what_it_held_back_runs_in_the_next_one(own_comfy):
    own_comfy.start()
    prompt = whole_job(dataset="survivor", mode="background", steps=60, validate_checkpoints=True)
    history = own_comfy.client.run(prompt)
    assert outcome(history) == "success", own_comfy.log_tail(60)
    (run,) = runs(own_comfy, "survivor")
    wait_for(lambda: run.state().step >= 3, what="three steps")
    trainer = run.identity().pid

    own_comfy.kill()
    step_at_death = run.state().step
    wait_for(lambda: run.state().step > step_at_death, what="the trainer went on without ComfyUI")
    own_comfy.start()

    held = wait_for(lambda: held_history(own_comfy, set()), what="the held-back nodes ran in the new ComfyUI")
    state = run.state()
    assert (state.status, state.step, state.attempt) == ("completed", 60, 1)
    assert run.identity().pid == trainer
    assert outcome(held) == "success", own_comfy.log_tail(60)
    assert said(held, prompt, "WizdroidPackageLora").startswith("survivor/")
    steps = [row["step"] for row in state.checkpoints]
    wait_for(lambda: len(read(run).over) == len(steps), what="checkpoints that nobody saw got their grids")
    grids = own_comfy.workspace_dir / "validations" / "survivor" / run.run_id
    assert len(steps) > 1 and all(list(grids.glob(f"grid-step{step:08d}-*.png")) for step in steps)


def test_ctrl_c_while_the_node_waits_ends_comfyui_and_the_run_goes_on(own_comfy):
    """Within 5 s where nothing else runs; on a busy machine Python's own clean-up of torch alone may take longer."""
    own_comfy.start()
    own_comfy.client.queue(only_training(dataset="ctrl_c", steps=2000))
    run = wait_for(lambda: next(iter(runs(own_comfy, "ctrl_c")), None), what="a run")
    wait_for(lambda: run.state().step >= 3, what="three steps")

    own_comfy.process.send_signal(signal.SIGINT)
    began = time.monotonic()
    own_comfy.process.wait(timeout=60)
    print(f"ComfyUI was gone {time.monotonic() - began:.1f} s after SIGINT")

    assert "Stopped server" in own_comfy.log(), "it ended in its own way"
    step = run.state().step
    assert step < 2000, "it did not wait for the run"
    wait_for(lambda: run.state().step > step, what="the run went on without ComfyUI")
    stopping = Desk(Workspace.at(own_comfy.workspace_dir))
    stopping.stop(run.run_id)
    assert stopping.wait(run.run_id).status == "stopped"
    assert run.state().attempt == 1


def test_cancel_stops_softly_and_queueing_again_resumes(comfy):
    prompt = only_training(dataset="cancelled", steps=60)
    prompt_id = comfy.client.queue(prompt)
    run = wait_for(lambda: next(iter(runs(comfy, "cancelled")), None), what="a run")
    wait_for(lambda: run.state().step >= 3, what="three steps")
    comfy.client.interrupt(prompt_id)

    assert outcome(comfy.client.wait(prompt_id)) == "interrupted"
    stopped = run.state()
    assert stopped.status == "stopped"
    assert 3 <= stopped.step < 60
    assert stopped.checkpoints[-1]["step"] == stopped.states[-1]["step"] == stopped.step
    assert (run.dir / stopped.checkpoints[-1]["file"]).is_file()

    assert outcome(comfy.client.run(prompt)) == "success"
    state = run.state()
    assert (state.status, state.step, state.attempt) == ("completed", 60, 2)
    assert state.resumed_from == stopped.step


def test_a_run_stopped_in_the_panel_ends_its_prompt_without_an_error_and_what_waited_runs_after_a_resume(
    comfy,
):
    prompt = only_training(dataset="panel_stop", steps=40)
    train = id_of(prompt, "WizdroidKohyaTrain")
    (package,) = [node for node in whole_job().values() if node["class_type"] == "WizdroidPackageLora"]
    prompt["90"] = {**package, "inputs": {**package["inputs"], "run": [train, 0]}}
    prompt_id = comfy.client.queue(prompt)
    run = wait_for(lambda: next(iter(runs(comfy, "panel_stop")), None), what="a run")
    wait_for(lambda: run.state().step >= 3, what="three steps")
    comfy.client.post(f"wizdroid/training/runs/{run.run_id}/stop", {})
    assert outcome(comfy.client.wait(prompt_id)) == "interrupted"
    assert len(run.held_prompts()) == 1

    comfy.client.post(f"wizdroid/training/runs/{run.run_id}/resume", {})

    def packaged():
        entries = comfy.client.get("history").values()
        return [entry for entry in entries if "90" in entry["outputs"] and entry["prompt"][1] != prompt_id]

    (entry,) = wait_for(packaged, what="the LoRA was packaged by what waited")
    assert entry["status"]["status_str"] == "success" and run.state().status == "completed"
    assert not run.held_prompts()


def test_a_neighbour_that_is_stopped_ends_the_prompt_at_once_and_the_run_goes_on(comfy):
    prompt = only_training(dataset="neighbours", steps=60)
    train = prompt[id_of(prompt, "WizdroidKohyaTrain")]
    prompt["95"] = {**train, "inputs": {**train["inputs"], "seed": 43}}
    prompt_id = comfy.client.queue(prompt)

    def states():
        return {run.state().status: run for run in runs(comfy, "neighbours")}

    found = wait_for(
        lambda: states() if {"queued", "training"} <= set(states()) else None, what="one trains, one waits"
    )
    comfy.client.post(f"wizdroid/training/runs/{found['queued'].run_id}/stop", {})

    assert outcome(comfy.client.wait(prompt_id, timeout_s=60)) == "interrupted"
    assert not found["training"].state().is_finished
    wait_for(lambda: found["training"].state().status == "completed", what="the run went on to its end")


def test_the_page_is_told_every_line_of_a_run_once_and_in_order(comfy):
    events = []
    prompt = only_training(dataset="live", steps=10)
    comfy.client.follow(prompt, lambda kind, data: events.append((kind, data)))
    steps = [data["event"] for kind, data in events if kind == "wizdroid.training" and data["slug"] == "live"]
    assert [event["step"] for event in steps if event["kind"] == "progress"] == list(range(1, 11))
    assert steps[-1]["kind"] == "run_finished"
    (run,) = runs(comfy, "live")
    assert [event["seq"] for event in steps] == [event["seq"] for event in run.events()]


def test_a_deleted_run_is_trained_again(comfy):
    prompt = only_training(dataset="live", steps=10)
    assert outcome(comfy.client.run(prompt)) == "success"
    (run,) = runs(comfy, "live")
    comfy.client.post(f"wizdroid/training/runs/{run.run_id}/delete", {})
    assert not run.dir.exists()
    assert outcome(comfy.client.run(prompt)) == "success"
    assert run.state().status == "completed"


def test_a_stopped_run_keeps_what_waits_for_it_until_it_is_resumed(comfy):
    prompt = whole_job(dataset="held", mode="background", steps=400)
    comfy.client.run(prompt)
    (run,) = runs(comfy, "held")
    comfy.client.post(f"wizdroid/training/runs/{run.run_id}/stop", {"at_once": True})
    wait_for(lambda: run.state().is_finished, what="the run was stopped")
    (file,) = run.held_prompts()
    held = json.loads(file.read_text("utf-8"))["prompt"]
    kinds = {node["class_type"] for node in held.values()}
    assert "WizdroidTrainingRun" in kinds
    assert not kinds & {"WizdroidKohyaTrain", "WizdroidCaptionExport", "WizdroidDatasetLint"}
