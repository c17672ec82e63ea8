"""The real ComfyUI starts on a workspace with every hostile and damaged thing in it, says what it set aside, and nothing of it acts.

One start for all that can stand side by side, one for a workspace that can't be written; `python -m scripts.chaos comfyui` has each by
itself, with seconds.
"""

import json
import subprocess
from contextlib import ExitStack

import pytest

from scripts.chaos.comfyui_starts import QUIET, Around, lock_held, read_only
from tests.hostile.received_runs import ATTACKS, There, make_outside, untouched
from tests.hostile.test_received_runs import make_world
from tests.rehearsed_runs import rehearse
from tests.waiting import wait_until

pytestmark = pytest.mark.host

SIDE_BY_SIDE = [name for name in QUIET if name.startswith(("cache/", "experiments", "logs", "an order", "a data set", "the builder"))]  # fmt: skip


@pytest.fixture
def bystander():
    process = subprocess.Popen(["sleep", "3000"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_comfyui_starts_beside_every_damage_lists_every_run_and_sends_nothing(own_comfy, bystander):
    world = make_world(own_comfy.base_dir, list(ATTACKS), bystander.pid)
    with ExitStack() as afterwards:
        around = Around(own_comfy.workspace_dir, world.sound, world.there, afterwards)
        for name in SIDE_BY_SIDE:
            QUIET[name](around)
        own_comfy.start()
        told = {}

        def is_told():
            told.update(own_comfy.client.get("wizdroid/training/runs"))
            return told["aside"]

        wait_until(is_told)
        assert {line["run_id"] for line in told["runs"]} >= {world.sound.run_id}
        assert {ask["kind"] for ask in told["asks"]} == {"prompt", "grids"}
        aside, trouble = next(iter(told["aside"].items()))
        assert trouble["problem"] and trouble["fix"] and f"Run {aside} is set aside" in own_comfy.new_log()
        cut = own_comfy.client.get(f"wizdroid/training/runs/{world.hostile['run.json: cut'].run_id}")
        assert [each["file"] for each in cut["damages"]] == ["run.json"]
        listed = {line["run_id"]: line.get("problem") for line in told["runs"]}
        assert "plan.yaml" in listed[world.hostile["plan.yaml: cut"].run_id]
        assert own_comfy.client.get("object_info/WizdroidCharacterPromptBuilder")
        assert own_comfy.client.get("history") == {}
        assert untouched(world.there) == world.before and not world.there.canary.exists()
        assert bystander.poll() is None


def test_comfyui_starts_on_a_workspace_that_cannot_be_written_and_is_held_by_another(own_comfy, bystander):
    from kohya_bridge.workspace import Workspace

    story = rehearse(Workspace.at(own_comfy.workspace_dir)).start().train(1, 20).finish("completed")
    there = There(
        own_comfy.base_dir / "somebody", make_outside(own_comfy.base_dir / "outside"), bystander.pid
    )
    with ExitStack() as afterwards:
        around = Around(own_comfy.workspace_dir, story.run, there, afterwards)
        lock_held(around)
        read_only(around)
        before = sorted(own_comfy.workspace_dir.rglob("*"))
        own_comfy.start()
        wait_until(
            lambda: "can't be written" in own_comfy.new_log() or "has held the runs" in own_comfy.new_log()
        )
        told = json.loads(own_comfy.client.get_bytes("wizdroid/training/runs"))
        assert [line["run_id"] for line in told["runs"]] == [story.run.run_id]
        assert (
            own_comfy.client.get(f"wizdroid/training/runs/{story.run.run_id}")["state"]["status"]
            == "completed"
        )
        assert sorted(own_comfy.workspace_dir.rglob("*")) == before
        own_comfy.stop()
