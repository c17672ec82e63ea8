"""A ComfyUI that is too old for a family says so in words before anything starts."""

import pytest

from kohya_bridge.architectures import ARCHITECTURES
from kohya_bridge.engines.contract import MachinePaths
from kohya_bridge.engines.native.host_problems import host_problems
from kohya_bridge.models.comfy_folders import knows
from tests.architectures.test_conformance import plan_of
from tests.native_world import tokenizer_dir

OF_0_3_75 = ("zimage", "zimage_turbo", "flux2_dev", "qwen_image", "flux1", "chroma", "sd3", "lumina2")
LATER = ("krea2", "krea2_turbo", "anima", "flux2_klein_4b", "flux2_klein_base_9b")
STATED = [name for name, each in ARCHITECTURES.items() if each.in_comfyui]


def test_comfyui_0_3_75_knows_what_was_there_and_not_what_came_later():
    carried = tokenizer_dir().parent.parent
    assert [name for name in (*OF_0_3_75, *LATER) if knows(carried, ARCHITECTURES[name])] == list(OF_0_3_75)


@pytest.mark.parametrize("name", STATED)
def test_an_old_one_is_an_obstacle_with_its_version(name, tmp_path):
    tokenizers = tmp_path / "comfy" / "sd1_tokenizer"
    tokenizers.mkdir(parents=True)
    (tmp_path / "comfy" / "sd.py").touch()
    (tmp_path / "comfyui_version.py").write_text('__version__ = "0.0.9"\n')
    source = tmp_path / "comfy" / ARCHITECTURES[name].in_comfyui[0]
    source.parent.mkdir(exist_ok=True)
    source.write_text("class SD15(BASE):\n    pass\n")
    paths = MachinePaths(tmp_path / "base.safetensors", tmp_path, tmp_path, tokenizers)
    family = ARCHITECTURES[name]
    (told,) = [each for each in host_problems(plan_of(family), paths) if each.code == "old_host"]
    assert told.blocks and family.title in told.problem and "0.0.9" in told.problem
    assert "Update ComfyUI" in told.fix and ("kohya" in told.fix) == bool(family.kohya)
