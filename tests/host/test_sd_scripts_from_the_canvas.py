"""The real sd-scripts trained from the canvas of a real ComfyUI, on Stable Diffusion 1.5 and SDXL of full size.

Needs what CI has not: sd-scripts with its interpreter, and base models in sd-scripts' own layout, 2 and 7 GB: KOHYA_FULL_SD15
(`tests/doubles/full_sd15.py FILE` makes one of random weights in a minute) and KOHYA_FULL_SDXL (`python -m scripts.bench
--layout sdxl --folder DIR` leaves one).
"""

import os
import shutil
import time
from pathlib import Path

import pytest

from kohya_bridge.models.lora_facts import check_lora
from scripts.host.comfy_client import outcome
from scripts.host.comfy_host import ComfyHost
from tests.host.canvas import changed, newest_run, said, small_dataset, whole_job
from tests.kohya_bench import find_checkout_or_skip

pytestmark = [pytest.mark.host, pytest.mark.sdscripts, pytest.mark.full, pytest.mark.timeout(3600)]

BASE = "full_size.safetensors"
SMALL = """
min_bucket_reso: 64
bucket_no_upscale: false
save_every_n_steps: 4
validate_every_n_steps: 4
"""
FAMILIES = {
    "SD15": 'mixed_precision: "no"\nkohya: {loss_type: huber}\n',
    "SDXL": "mixed_precision: bf16\nnetwork_train_unet_only: true\ncache_text_encoder_outputs: true\nkohya: {full_bf16: true}\n",
}


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture
def comfy(tmp_path, family):
    find_checkout_or_skip()
    base = os.environ.get(f"KOHYA_FULL_{family}")
    if not base:
        pytest.skip(f"KOHYA_FULL_{family} names no full-size base model")
    host = ComfyHost(tmp_path / "comfy")
    if family == "SDXL":  # in fp32, with the LoRA's copy of each weight, ComfyUI alone would need 24 GB
        host.extra_arguments = ("--bf16-unet",)
    host.prepare()
    try:
        (host.checkpoints_dir / BASE).hardlink_to(Path(base))
    except OSError:
        shutil.copy(base, host.checkpoints_dir / BASE)
    small_dataset(host.base_dir / "input" / "wren", pictures=6)
    with host:
        yield host


def settings_node(comfy, more):
    required = comfy.client.get("object_info/WizdroidTrainingSettings")["WizdroidTrainingSettings"]["input"][
        "required"
    ]
    defaults = {
        key: spec[1].get("default", spec[1].get("options", spec[0])[0] if spec[0] == "COMBO" else spec[0][0])
        for key, spec in required.items()
    }
    return {"class_type": "WizdroidTrainingSettings", "inputs": {**defaults, "more": more}}


def test_kohya_train_in_background_makes_a_lora_that_comfyui_loads_without_a_single_unloaded_key(
    comfy, family
):
    prompt = whole_job(mode="background", engine="kohya", preset="careful", steps=8, base_model=BASE)
    changed(prompt, "CheckpointLoaderSimple", ckpt_name=BASE)
    prompt["90"] = settings_node(comfy, SMALL + FAMILIES[family])
    changed(prompt, "WizdroidKohyaTrain", settings=["90", 0])
    known = {comfy.client.queue(prompt)}
    history = comfy.client.wait(next(iter(known)))
    assert outcome(history) == "success", comfy.log_tail(40)
    assert "background" in said(history, prompt, "WizdroidKohyaTrain")

    run = newest_run(comfy, "wren")
    until = time.monotonic() + 1800
    while not (held := [each for name, each in comfy.client.get("history").items() if name not in known]):
        assert time.monotonic() < until, run.log_tail()
        assert not run.state().is_finished or run.state().status == "completed", run.log_tail()
        time.sleep(1)
    state = run.state()
    assert (state.engine, state.status, state.step) == ("kohya", "completed", 8)
    assert [row[0] for row in state.losses] == list(range(1, 9))
    assert [row["step"] for row in state.checkpoints] == [4, 8]
    assert {row["step"] for row in state.validations} == {4, 8}
    lora = run.dir / run.checkpoint("latest")["file"]
    assert check_lora(lora, step=8) == ()
    assert outcome(held[0]) == "success", comfy.log_tail(60)
    assert "lora key not loaded" not in comfy.log()
    assert "NOT LOADED" not in comfy.log()
