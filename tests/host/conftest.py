"""The main job, done once for all host tests that look at what came of it."""

import pytest

from scripts.host.comfy_client import outcome
from tests.host.canvas import JOB_STEPS, Job, newest_run, whole_job


@pytest.fixture(scope="session")
def job(comfy):
    """The shipped example workflow, queued over HTTP in the session's ComfyUI and finished."""
    prompt = whole_job(steps=JOB_STEPS, learning_rate=0.002)
    events = []
    already = len(comfy.log())
    history = comfy.client.follow(prompt, lambda kind, data: events.append((kind, data)))
    assert outcome(history) == "success", comfy.log_tail(60)
    return Job(prompt, history, newest_run(comfy, "wren"), events, comfy.log()[already:])
