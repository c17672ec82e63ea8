"""Bases as people have them: in fp8, on a ComfyUI that lacks their format, and SD 1.x through either side."""

from pathlib import Path

import pytest

from kohya_bridge.models.quantised_formats import unread_formats
from tests.host_models.quantised import STORED_LATER

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def fp8(hosted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fp8")
    return hosted.case("write_files", folder=str(folder), family="zimage", architecture="zimage", fp8=True)


def test_a_base_in_fp8_is_its_dequantised_weights_and_keeps_no_copy_of_them(hosted, fp8):
    found = hosted.case("stored", file=fp8["base"])
    assert found["format"] == "fp8" and found["weights"] == "torch.float8_e4m3fn"
    assert found["answer_off"] < 1e-6 and found["gradient_off"] < 1e-5, found
    assert found["kept_mib"] < 0.8 * found["usually_kept_mib"], found


KNOWN_ERRORS = {
    "scaled fp8": 0.03,  # 7e-7 with ComfyUI 0.33; 0.3.75 keeps the biases in fp8 as well, also when it draws
    "float8_e4m3fn": 1e-5,
    "float8_e5m2": 1e-5,
    "nvfp4": 1e-5,
    "mxfp8": 1e-5,
    "int8_tensorwise": 0.05,  # activations are rounded as well, as they are in drawing
    "int8_tensorwise convrot": 0.05,
    "convrot_w4a4": 0.5,
    "asym_w4a8_int8": 0.05,
}
"""How far the gradient of the adapters may be from that with the dequantised weights in fp32, relative to its norm."""


@pytest.mark.full
@pytest.mark.parametrize("kind", KNOWN_ERRORS)
def test_a_format_of_comfyuis_own_gives_the_gradient_of_its_dequantised_weights(hosted, tmp_path, kind):
    found = hosted.case("quantised", folder=str(tmp_path), kind=kind)
    if "unknown" in found:
        pytest.skip(f"ComfyUI {hosted.opened['version']}: {found['unknown']}")
    assert found["format"] == "quantised" and found["weights"] != "torch.float32"
    assert found["gradient_off"] < KNOWN_ERRORS[kind], found
    assert found["usually_kept_mib"] is None or found["kept_mib"] <= found["usually_kept_mib"], found


IN_THE_GATE = ("float8_e4m3fn", "nvfp4")  # names that have no place, and a matrix of another size


@pytest.mark.parametrize(
    "kind",
    [kind if kind in IN_THE_GATE else pytest.param(kind, marks=pytest.mark.full) for kind in STORED_LATER],
)
def test_a_format_is_refused_before_the_start_and_in_the_child_where_this_comfyui_cannot_read_it(
    hosted, tmp_path, kind
):
    found = hosted.case("quantised", folder=str(tmp_path), kind=kind)
    unread = unread_formats(Path(found["stored"]), hosted.install.dir)
    if "unknown" not in found:
        assert unread == [] and hosted.case("loaded", file=found["stored"]) == "loaded"
        return
    assert unread == [kind.split()[0]]
    assert "do not fit the model" in hosted.case("loaded", file=found["stored"])


def test_the_doctor_says_of_it_that_its_gradients_are_right_and_remembers(hosted, fp8, tmp_path):
    found = hosted.case("doctors_check", files=fp8, cache=str(tmp_path), comfyui_dir=str(hosted.install.dir))
    assert found["worst"] < 0.03 and found["recomputed_equal"]
    assert len(list((tmp_path / "gradients").glob("*.json"))) == 1


def test_weights_that_the_host_has_no_place_for_are_an_error(hosted, fp8):
    found = hosted.case("refused", file=fp8["base"])
    assert "do not fit the model" in found["unknown"] and "do not fit the model" in found["missing"]
    assert found["as Z-Image's files are"] == found["as Lumina's files are"] == "loaded"


def test_text_encoders_of_a_type_that_this_comfyui_lacks_are_no_other_type_in_silence(hosted, fp8):
    assert "type of_another_time" in hosted.case("unknown_type", file=fp8["text_encoder"])


def test_sd15_through_comfyui_is_what_it_is_through_diffusers(hosted, demo_base):
    found = hosted.case("same_as_diffusers", file=str(demo_base), comfyui_dir=str(hosted.install.dir))
    # What fp32 rounds away depends on the processor's kernels: 2e-6 with AVX2's, less with AVX512's.
    rounding = found.pop("rounding")
    assert max(found.values()) < 1e-6 and rounding < 1e-5, (found, rounding)
