"""Real layouts of text encoders: found by their content, loaded by ComfyUI's own loader, each weight in its place."""

import shutil

import pytest

pytestmark = [pytest.mark.host, pytest.mark.full]

WIDTHS = {
    "zimage": 2560,
    "flux1": 4096,
    "chroma": 4096,
    "lumina2": 2304,
    "flux2_klein_base_4b": 7680,
    "anima": 1024,
}
LATER = {"flux2_klein_base_4b", "anima"}
"""Families that ComfyUI 0.3.75 does not know."""


def asked(hosted, folder, family, **more):
    from kohya_bridge.architectures import architecture
    from kohya_bridge.models.comfy_folders import knows

    if not knows(hosted.install.dir, architecture(family)):
        pytest.skip(f"ComfyUI {hosted.opened['version']} does not know {family}")
    found = hosted.case("real_encoders", folder=str(folder), family=family, **more)
    if "too_large" in found:
        pytest.skip(f"ComfyUI {hosted.opened['version']}: {found['too_large']}")
    shutil.rmtree(folder / "models")  # up to 0.8 GB
    return found


@pytest.mark.parametrize("family", WIDTHS)
def test_they_are_found_loaded_and_read_a_caption_as_it_stands(hosted, tmp_path, family):
    found = asked(hosted, tmp_path, family)
    assert all(name.startswith(f"{option}_of_somebody") for option, name in found["found"].items())
    assert found["shapes"]["cross_attn"][-1] == WIDTHS[family], found["shapes"]
    assert found["finite"] and found["repeated"] and found["told_apart"] and found["brackets_are_brackets"]
    assert "do not fit the model" in found["few"]


@pytest.mark.parametrize("family", ["zimage", "chroma"])
def test_a_scaled_fp8_encoder_says_what_its_dequantised_weights_say(hosted, tmp_path, family):
    small, plain = (asked(hosted, tmp_path / name, family, stored=name) for name in ("scaled", "dequantised"))
    off = sum((a - b) ** 2 for a, b in zip(plain["vectors"], small["vectors"], strict=True)) ** 0.5
    assert off < 0.01 * sum(a * a for a in plain["vectors"]) ** 0.5, off
