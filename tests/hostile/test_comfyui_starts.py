"""The real ComfyUI starts on a workspace with every hostile and damaged run folder in it, and nothing of them acts."""

import subprocess
import time

import pytest

from tests.hostile.received_runs import ATTACKS, untouched
from tests.hostile.test_received_runs import make_world

pytestmark = pytest.mark.host


def test_comfyui_starts_beside_every_damage_lists_every_run_and_sends_nothing(own_comfy):
    bystander = subprocess.Popen(["sleep", "3000"], start_new_session=True)
    world = make_world(own_comfy.base_dir, list(ATTACKS), bystander.pid)
    own_comfy.start()
    time.sleep(3)  # what is held is looked for once the server answers
    told = own_comfy.client.get("wizdroid/training/runs")
    assert {line["run_id"] for line in told["runs"]} >= {world.sound.run_id}
    assert {ask["kind"] for ask in told["asks"]} == {"prompt", "grids"}
    assert own_comfy.client.get("history") == {}
    assert untouched(world.there) == world.before and not world.there.canary.exists()
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()
