"""Background mode: the queue stays free, and what hangs on the training runs by itself when the run has finished."""

import time

import pytest

from kohya_bridge.run_folder import RunFolder
from scripts.host.comfy_client import outcome
from tests.host.canvas import plain_render, said, whole_job

pytestmark = pytest.mark.host
STEPS = 60


def runs(comfy, slug):
    return [RunFolder(each) for each in (comfy.workspace_dir / "runs" / slug).glob("*")]


def wait_for(condition, *, timeout_s=240, poll_s=0.1, what=""):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(poll_s)
    raise AssertionError(f"not within {timeout_s} s: {what}")


def held_history(comfy, known):
    """The history of a finished prompt that packages a LoRA and is none of `known`."""
    history = comfy.client.get("history")
    packages = lambda entry: any(
        node["class_type"] == "WizdroidPackageLora" for node in entry["prompt"][2].values()
    )
    return next((entry for name, entry in history.items() if name not in known and packages(entry)), None)


def test_the_queue_is_free_while_a_run_trains_and_what_was_held_back_runs_by_itself(comfy):
    prompt = whole_job(dataset="background", mode="background", steps=STEPS)
    known = set(comfy.client.get("history"))
    already = len(comfy.log())
    first = comfy.client.queue(prompt)
    history = comfy.client.wait(first)

    assert outcome(history) == "success"
    assert "background" in said(history, prompt, "WizdroidKohyaTrain")
    (run,) = runs(comfy, "background")
    assert len(run.held_prompts()) == 1
    assert not run.state().is_finished

    meanwhile = comfy.client.queue(plain_render(seed=77))
    assert outcome(comfy.client.wait(meanwhile)) == "success"
    assert not run.state().is_finished, "the other prompt must have rendered while the run still trained"

    held = wait_for(lambda: held_history(comfy, known | {first, meanwhile}), what="the held-back nodes ran")
    assert run.state().status == "completed"
    assert outcome(held) == "success", comfy.log_tail(60)
    assert said(held, prompt, "WizdroidPackageLora").startswith("background/")
    assert "lora key not loaded" not in comfy.log()[already:]
    assert run.held_prompts() == []

    time.sleep(1)
    queue = comfy.client.get("queue")
    assert queue["queue_running"] == queue["queue_pending"] == [], "it is queued once"


def test_queueing_a_canvas_whose_background_run_is_complete_goes_straight_on(comfy):
    prompt = whole_job(dataset="background", mode="background", steps=STEPS)
    history = comfy.client.run(prompt)
    assert outcome(history) == "success"
    assert said(history, prompt, "WizdroidPackageLora").startswith("background/")
    assert len(runs(comfy, "background")) == 1
