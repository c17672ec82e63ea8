"""What a plan for ComfyUI's own models is told before it starts; no torch and no ComfyUI is loaded for it."""

import pytest

from kohya_bridge.architectures import ARCHITECTURES
from kohya_bridge.engines.contract import MachinePaths
from kohya_bridge.engines.native.host_problems import host_problems
from kohya_bridge.models.comfy_folders import host_folder, host_name
from kohya_bridge.plan import TrainingPlan

THROUGH_COMFYUI = [name for name, each in ARCHITECTURES.items() if each.trainable == "host"]


@pytest.fixture
def comfyui(tmp_path):
    """A folder with the marks of a ComfyUI that knows every family."""
    folder = tmp_path / "ComfyUI"
    (folder / "comfy" / "sd1_tokenizer").mkdir(parents=True)
    (folder / "comfy" / "sd.py").touch()
    for name, text in filter(None, (ARCHITECTURES[family].in_comfyui for family in THROUGH_COMFYUI)):
        (folder / "comfy" / name).parent.mkdir(parents=True, exist_ok=True)
        with open(folder / "comfy" / name, "a") as source:
            source.write(f"{text}\n")
    (folder / "comfyui_version.py").write_text('__version__ = "9.8.7"\n')
    return folder


def problems(folder, *, base="base.safetensors", family="zimage", **settings):
    plan = TrainingPlan.model_validate(
        {
            "character": "dot",
            "dataset": {"slug": "dot", "digest": "d" * 64, "images": 8},
            "base_model": {"name": base, "sha256": "a" * 64, "family": family},
            "engine": "native",
            "engine_version": "1",
            "settings": {"mixed_precision": "bf16", "min_snr_gamma": 0.0, **settings},
        }
    )
    paths = MachinePaths(folder / base, folder, folder, folder / "comfy" / "sd1_tokenizer")
    return {each.code: each for each in host_problems(plan, paths)}


@pytest.mark.parametrize("family", THROUGH_COMFYUI)
def test_nothing_stands_in_the_way_of_a_plain_plan(comfyui, family):
    assert problems(comfyui, family=family) == {}


def test_a_comfyui_that_has_its_models_elsewhere_is_not_refused(comfyui):
    (comfyui / "comfy" / "supported_models.py").unlink()
    assert problems(comfyui) == {}


def test_the_host_is_known_by_the_folder_of_its_tokenizer(comfyui):
    assert host_folder(comfyui / "comfy" / "sd1_tokenizer") == comfyui
    assert host_name(comfyui) == "9.8.7"


def test_without_a_comfyui_it_can_not_start(tmp_path):
    assert problems(tmp_path)["no_host"].blocks


def test_a_gguf_is_refused_with_what_to_take_instead(comfyui):
    found = problems(comfyui, base="z-image-Q4_K_M.gguf")["gguf"]
    assert found.blocks and ".safetensors" in found.fix


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cache_latents", False),
        ("cache_text_encoder_outputs", False),
        ("conv_dim", 4),
        ("torch_compile", True),
        ("attention", "xformers"),
    ],
)
def test_what_these_models_can_not_do_is_refused_by_its_name(comfyui, name, value):
    found = problems(comfyui, **{name: value})[name]
    assert found.blocks and name in found.problem and found.fix


def test_what_has_no_effect_is_advice(comfyui):
    assert not problems(comfyui, clip_skip=2)["no_effect"].blocks
