"""LoRA files of other trainers find their layers in ComfyUI's own models, also by names that ComfyUI has no key for."""

import pytest

from tests.host_models.test_gradients import OTHERS

pytestmark = pytest.mark.host


@pytest.mark.parametrize(
    "family",
    ["zimage", "sdxl", *(pytest.param(each, marks=pytest.mark.full) for each in ("flux2", "qwen", *OTHERS))],
)
def test_every_layer_is_found_by_each_of_onetrainers_names_and_no_other_one(hosted, family):
    found = hosted.case("found_by_name", family=family)
    if found.get("unknown"):
        pytest.skip(f"ComfyUI {hosted.opened['version']} does not know {family}")
    assert found["lora_unet."][2] > 20
    assert {before: told for before, told in found.items() if told[0] != told[2] or told[1]} == {}
