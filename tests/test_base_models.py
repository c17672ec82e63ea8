"""A base model is recognised by its header; anything else is named for what it is, with a way out, and nothing is loaded."""

import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from kohya_bridge.errors import BridgeError, InvalidInput, NotFound
from kohya_bridge.models.base_models import inspect_base_model
from kohya_bridge.models.safetensors_header import read_header
from kohya_bridge.models.unet_shape import UNetShape, read_unet_shape
from scripts.base_layouts import SD15_UNET, SDXL_UNET, unet_shapes
from scripts.make_demo_base import DEMO_UNET, TINY_SD15_UNET, TINY_SDXL_UNET

UNET = "model.diffusion_model."


def saved_with(source, target, *, add=(), drop=(), metadata=None):
    """A copy of a checkpoint with tensors added (names, as scalars) or dropped (by prefix)."""
    tensors = {
        name: t for name, t in load_file(source).items() if not name.startswith(tuple(drop) or ("\0",))
    }
    tensors |= {name: np.zeros((), np.float32) for name in add}
    save_file(tensors, target, metadata=metadata)
    return target


@pytest.mark.parametrize("shape", [SD15_UNET, SDXL_UNET, DEMO_UNET, TINY_SD15_UNET, TINY_SDXL_UNET])
def test_the_shape_of_a_unet_is_read_from_its_tensors(shape):
    tensors = {name.removeprefix(UNET): size for name, size in unet_shapes(shape).items()}
    assert read_unet_shape(tensors) == shape


def distilled(**changes) -> UNetShape:
    return UNetShape(**{**vars(SDXL_UNET), **changes})


@pytest.mark.parametrize(
    "shape",
    [
        distilled(down_depths=((0, 0), (2, 2), (4, 4)), up_depths=((4, 4, 10), (2, 1, 1), (0, 0, 0)), middle_depth=0),
        distilled(res_blocks=(1, 1, 1), down_depths=((0,), (2,), (5,)), up_depths=((5, 5), (2, 2), (0, 0)), middle_depth=None),
        distilled(res_blocks=(1, 2, 3), down_depths=((0,), (0, 2), (3, 0, 1)), up_depths=((1, 0, 1, 0), (2, 0, 1), (0, 0)), middle_depth=6),
    ],
    ids=["SSD-1B", "KOALA-700M", "uneven"],
)  # fmt: skip
def test_distilled_layouts_are_read_too(shape):
    tensors = {name.removeprefix(UNET): size for name, size in unet_shapes(shape).items()}
    assert read_unet_shape(tensors) == shape


def test_the_families_are_told_apart(sd15_file, sdxl_file):
    found = inspect_base_model(sd15_file), inspect_base_model(sdxl_file)
    assert [each.family for each in found] == ["sd15", "sdxl"]
    assert {each.prediction_type for each in found} == {"epsilon"}
    assert not any(each.prediction_is_stated for each in found)


def test_marker_tensors_say_that_a_model_predicts_velocity_down_to_pure_noise(sdxl_file, tmp_path):
    found = inspect_base_model(saved_with(sdxl_file, tmp_path / "v.safetensors", add=["v_pred", "ztsnr"]))
    assert (found.prediction_type, found.zero_terminal_snr, found.prediction_is_stated) == (
        "v_prediction",
        True,
        True,
    )


def test_modelspec_metadata_says_what_a_model_predicts(sd15_file, tmp_path):
    file = saved_with(sd15_file, tmp_path / "v.safetensors", metadata={"modelspec.prediction_type": "v"})
    assert inspect_base_model(file).prediction_type == "v_prediction"


def test_a_header_gives_access_to_single_tensors(sd15_file):
    header = read_header(sd15_file)
    name = f"{UNET}out.2.bias"
    found = sd15_file.read_bytes()[header.tensors[name].begin : header.tensors[name].end]
    assert np.array_equal(np.frombuffer(found, np.float16), load_file(sd15_file)[name])


def lora(file):
    save_file({"lora_unet_x.lora_down.weight": np.zeros((4, 8), np.float32)}, file)


def vae(file):
    save_file({"encoder.conv_in.weight": np.zeros((4, 3), np.float32)}, file)


def flux(file):
    save_file({f"{UNET}double_blocks.0.img_attn.qkv.weight": np.zeros((4, 3), np.float32)}, file)


def unknown(file):
    save_file({"something": np.zeros(3, np.float32)}, file)


def pickle(file):
    file.write_bytes(b"PK\x03\x04" + b"\0" * 100)


def old_pickle(file):
    file.write_bytes(b"\x80\x02}q\x00." + b"\0" * 100)


def web_page(file):
    file.write_bytes(b"<!DOCTYPE html><html>" + b"x" * 100)


def lfs_pointer(file):
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


def empty(file):
    file.write_bytes(b"")


def huge_header(file):
    file.write_bytes((2**62).to_bytes(8, "little") + b"{}")


def deep_json(file):
    text = b"[" * 100_000
    file.write_bytes(len(text).to_bytes(8, "little") + text)


def with_entry(entry):
    def write(file):
        text = json.dumps({"x": entry}).encode()
        file.write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * 16)

    write.__name__ = f"entry {str(entry)[:60]}"
    return write


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lora, "is a LoRA"),
        (vae, "is a VAE"),
        (flux, "a diffusion model of a kind that is not known"),
        (unknown, "no model that is known"),
        (pickle, "pickle"),
        (old_pickle, "pickle"),
        (web_page, "web page"),
        (lfs_pointer, "download pointer"),
        (empty, "empty"),
        (huge_header, "not a safetensors file"),
        (deep_json, "not a safetensors file"),
        (with_entry(3), "makes no sense"),
        (with_entry({"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 16]}), "makes no sense"),
        (with_entry({"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]}), "makes no sense"),
        (with_entry({"dtype": "F32", "shape": [True, 4], "data_offsets": [0, 16]}), "makes no sense"),
        (with_entry({"dtype": "Q4", "shape": [4], "data_offsets": [0, 16]}), "makes no sense"),
        (with_entry({"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}), "overlap or leave gaps"),
        (with_entry({"dtype": "F32", "shape": [8], "data_offsets": [0, 32]}), "cut off"),
        (with_entry({"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}), "belong to no tensor"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_file_that_is_no_base_model_is_named_for_what_it_is(write, says, tmp_path):
    file = tmp_path / "base.safetensors"
    write(file)
    with pytest.raises(InvalidInput) as caught:
        inspect_base_model(file)
    assert says in caught.value.problem
    assert caught.value.fix
    assert "\n" not in caught.value.problem


def test_every_truncation_of_a_checkpoint_is_noticed(sd15_file, tmp_path):
    whole = sd15_file.read_bytes()
    file = tmp_path / "cut.safetensors"
    for length in (1, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(InvalidInput, match="cut off"):
            inspect_base_model(file)


def test_a_header_of_random_bytes_never_ends_in_anything_but_a_clear_error(tmp_path):
    rng = np.random.default_rng(0)
    file = tmp_path / "noise.safetensors"
    for _ in range(200):
        text = bytes(rng.choice(list(b'{}[]":,0123456789aF x'), int(rng.integers(2, 60))).astype(np.uint8))
        file.write_bytes(len(text).to_bytes(8, "little") + text)
        with pytest.raises(BridgeError):
            inspect_base_model(file)


@pytest.mark.parametrize("name", ["model.ckpt", "model.PT", "model.bin"])
def test_pickle_checkpoints_are_refused_by_name_without_reading_them(name, tmp_path):
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(InvalidInput, match="pickle"):
        inspect_base_model(tmp_path / name)


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(NotFound, match="no file"):
        inspect_base_model(tmp_path / "nothing.safetensors")


def test_a_folder_that_is_no_diffusers_model_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match=r"model_index\.json"):
        inspect_base_model(tmp_path)


@pytest.mark.parametrize(
    ("dropped", "says"),
    [
        ("first_stage_model.", "no VAE"),
        ("cond_stage_model.", "no text encoder"),
    ],
)
def test_a_checkpoint_without_a_part_that_training_needs_is_refused(sd15_file, tmp_path, dropped, says):
    with pytest.raises(InvalidInput, match=says):
        inspect_base_model(saved_with(sd15_file, tmp_path / "part.safetensors", drop=[dropped]))


def test_the_refiner_is_recognised(tmp_path):
    shape = UNetShape(**{**vars(TINY_SDXL_UNET), "context_dim": 1280, "vector_dim": 2560})
    save_file(
        {name: np.zeros(size, np.float16) for name, size in unet_shapes(shape).items()},
        tmp_path / "x.safetensors",
    )
    with pytest.raises(InvalidInput, match="refiner"):
        inspect_base_model(tmp_path / "x.safetensors")


def test_inspecting_needs_no_torch():
    code = "import sys, kohya_bridge.models.base_models, kohya_bridge.models.lora_facts, kohya_bridge.models.lora_metadata; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=".")
    assert answer.stdout.strip() == "False"
