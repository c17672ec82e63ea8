"""The SDXL example workflow in the real ComfyUI, from prompt to picture, on a reduced SDXL with both text encoders."""

import pytest
from safetensors import safe_open

from scripts.host.comfy_client import outcome
from scripts.make_demo_base import demo_sdxl, save_base
from tests.host.canvas import changed, example, id_of, newest_run, said

# The text encoders of an SDXL are of full size, so this takes minutes and 8 GiB.
pytestmark = [pytest.mark.host, pytest.mark.full, pytest.mark.timeout(900)]


def test_the_example_trains_validates_packages_and_renders_an_sdxl_lora(own_comfy):
    prompt = example("train_an_sdxl_character")
    (base_name,) = {node["inputs"]["ckpt_name"] for node in prompt.values() if "ckpt_name" in node["inputs"]}
    save_base(own_comfy.checkpoints_dir / base_name, demo_sdxl())
    changed(prompt, "WizdroidCaptionExport", dataset_name="wren", folder="input/wren")
    changed(prompt, "WizdroidKohyaTrain", steps=6, resolution=64, batch_size=1, mode="wait", engine="native")
    changed(prompt, "WizdroidLoraValidateGrid", width=64, height=64, steps=2)
    changed(prompt, "EmptyLatentImage", width=64, height=64)
    changed(prompt, "KSampler", steps=2)
    own_comfy.start()
    history = own_comfy.client.wait(own_comfy.client.queue(prompt), timeout_s=800)
    assert outcome(history) == "success", own_comfy.log_tail(60)

    run = newest_run(own_comfy, "wren")
    assert run.plan().base_model.family == "sdxl"
    lora = own_comfy.loras_dir / said(history, prompt, "WizdroidPackageLora").splitlines()[0]
    with safe_open(lora, "pt") as file:
        assert file.metadata()["modelspec.architecture"] == "stable-diffusion-xl-v1-base/lora"
        assert all(name.startswith("lora_unet_") for name in file.keys())  # noqa: SIM118  no dict
    assert "lora key not loaded" not in own_comfy.log()
    assert history["outputs"][id_of(prompt, "SaveImage")]["images"]
