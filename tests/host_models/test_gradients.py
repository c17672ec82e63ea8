"""Gradients through ComfyUI's own models: they are those of finite differences, and recomputed blocks change no bit of them."""

import pytest

pytestmark = pytest.mark.host

AXES = {"flux2": "in-place sums and two streams", "zimage": "one stream", "qwen": "a frame axis"}
"""One family for each way in which models differ here; the others are checked with them in the full run."""
OTHERS = (
    "flux",
    "chroma",
    "sd3",
    "lumina2",
    "hidream",
    "auraflow",
    "wan21",
    "krea2",
    "anima",
    "ernie",
    "sd15",
    "sdxl",
)


@pytest.mark.parametrize("family", [*AXES, *(pytest.param(each, marks=pytest.mark.full) for each in OTHERS)])
def test_they_agree_with_finite_differences_and_with_recomputed_blocks(hosted, family):
    found = hosted.case("gradients", family=family)
    if found.get("unknown"):
        pytest.skip(f"ComfyUI {hosted.opened['version']} does not know {family}")
    assert found["worst"] < 0.02 and found["recomputed_equal"], found
    assert found["problem"] == "" and found["measured"] >= 10


@pytest.mark.parametrize("family", [*AXES, *(pytest.param(each, marks=pytest.mark.full) for each in OTHERS)])
def test_a_batch_is_answered_as_its_items_are_alone(hosted, family):
    found = hosted.case("batched", family=family)
    if found.get("unknown"):
        pytest.skip(f"ComfyUI {hosted.opened['version']} does not know {family}")
    assert found["off"] < 1e-4 < 1e-2 < found["swapped_off"], found


def test_without_the_cure_they_are_wrong_or_raise_and_the_check_says_so(hosted):
    found = hosted.case("uncured_gradients", family="flux2")
    assert "modified by an inplace operation" in found.get("raised", "") or found["problem"]
