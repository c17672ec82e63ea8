"""Bases as people have them: in fp8, on a ComfyUI that lacks their format, and SD 1.x through either side."""

import pytest

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def fp8(hosted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fp8")
    return hosted.case("write_files", folder=str(folder), family="zimage", fp8=True)


def test_a_base_in_fp8_is_its_dequantised_weights_and_keeps_no_copy_of_them(hosted, fp8):
    found = hosted.case("stored", file=fp8["base"])
    assert found["format"] == "fp8" and found["weights"] == "torch.float8_e4m3fn"
    assert found["answer_off"] < 1e-6 and found["gradient_off"] < 1e-5, found
    assert found["kept_mib"] < 0.8 * found["usually_kept_mib"], found


def test_the_doctor_says_of_it_that_its_gradients_are_right_and_remembers(hosted, fp8, tmp_path):
    found = hosted.case("doctors_check", files=fp8, cache=str(tmp_path), comfyui_dir=str(hosted.install.dir))
    assert found["worst"] < 0.03 and found["recomputed_equal"]
    assert len(list((tmp_path / "gradients").glob("*.json"))) == 1


def test_weights_that_the_host_has_no_place_for_are_an_error(hosted, fp8):
    found = hosted.case("refused", file=fp8["base"])
    assert "do not fit the model" in found["unknown"] and "do not fit the model" in found["missing"]


def test_sd15_through_comfyui_is_what_it_is_through_diffusers(hosted, demo_base):
    found = hosted.case("same_as_diffusers", file=str(demo_base), comfyui_dir=str(hosted.install.dir))
    assert max(found.values()) < 2e-6, found
