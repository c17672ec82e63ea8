"""The real ComfyUI while another program holds the runs: its own page and queue answer as ever, and the panel says who is at it."""

import json
import os
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from filelock import FileLock

from kohya_bridge.workspace import Workspace
from tests.rehearsed_runs import rehearse, rehearsed_plan

pytestmark = pytest.mark.host
WAITING = 40


def test_forty_requests_that_wait_for_a_lock_stop_nothing_of_comfyui(comfy):
    workspace = Workspace.at(comfy.workspace_dir)
    run = rehearse(workspace, rehearsed_plan(dataset="locked", max_train_steps=400)).start().train(1, 20).run
    refused, sent = [], threading.Barrier(WAITING + 1)

    def stop(_):
        sent.wait()
        request = urllib.request.Request(
            f"{comfy.url}/wizdroid/training/runs/{run.run_id}/stop",
            data=b"{}",
            headers={"Content-Type": "application/json"},
        )
        with pytest.raises(urllib.error.HTTPError) as told:
            urllib.request.urlopen(request, timeout=120)
        refused.append((told.value.code, told.value.headers["Retry-After"], json.load(told.value)))

    process = psutil.Process(comfy.process.pid)
    with FileLock(workspace.runs_dir / ".slot.lock"), ThreadPoolExecutor(WAITING) as pages:
        before = process.num_threads()
        waiting = [pages.submit(stop, number) for number in range(WAITING)]
        sent.wait()
        for path in ("", "prompt", "system_stats", "queue", "wizdroid/training/runs"):
            assert comfy.client.get_bytes(path)
        with pytest.raises(urllib.error.HTTPError, match="400"):  # through the door for prompts
            comfy.client.post("prompt", {"prompt": {}})
        still, threads = sum(not each.done() for each in waiting), process.num_threads() - before
        for each in waiting:
            each.result()
    assert still > 0, "they were answered while the others waited"
    assert threads < WAITING / 2, "waiting requests hold no thread each"
    assert {code for code, _, _ in refused} == {503} and all(after == "1" for _, after, _ in refused)
    assert any(f"process {os.getpid()}" in told["problem"] for _, _, told in refused)
