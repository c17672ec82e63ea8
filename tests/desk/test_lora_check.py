"""A LoRA file counts only when it is whole, and each kind of damage is named."""

from __future__ import annotations

import json
import math
import struct

import numpy as np
import pytest
from safetensors.numpy import save_file

from kohya_bridge.models.lora_check import lora_problems

KEY = "lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight"


def write(file, values, *, step=12):
    save_file({KEY: values}, file, metadata={"ss_steps": str(step)})
    return file


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_file_that_the_safetensors_library_wrote_is_sound(tmp_path, dtype):
    file = write(tmp_path / "a.safetensors", np.linspace(-1, 1, 64, dtype=dtype).reshape(4, 16))
    assert lora_problems(file, steps=12) == []


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_number_that_is_not_finite_is_found_among_many(tmp_path, dtype, bad):
    values = np.zeros((4, 1000), dtype=dtype)
    values[2, 777] = bad
    (problem,) = lora_problems(write(tmp_path / "a.safetensors", values))
    assert "1 tensor holds numbers that are not finite" in problem and KEY in problem


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_largest_finite_numbers_are_finite(tmp_path, dtype):
    extremes = np.array(
        [np.finfo(dtype).max, np.finfo(dtype).min, np.finfo(dtype).tiny, 0.0] * 4, dtype=dtype
    )
    assert lora_problems(write(tmp_path / "a.safetensors", extremes.reshape(4, 4))) == []


@pytest.mark.parametrize(
    ("bits", "finite"), [(0x7F80, False), (0xFF80, False), (0x7FC0, False), (0x7F7F, True), (0x3F80, True)]
)
def test_bf16_is_judged_by_its_bits(tmp_path, bits, finite):
    data = struct.pack("<4H", 0x3F80, bits, 0, 0x8000)
    header = json.dumps({KEY: {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]}}).encode()
    file = tmp_path / "a.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header + data)
    assert (lora_problems(file) == []) is finite


def test_every_kind_of_damage_is_a_sentence(tmp_path):
    sound = write(tmp_path / "a.safetensors", np.zeros((4, 16), dtype=np.float16))
    whole = sound.read_bytes()
    for content, words in (
        (whole[:-3], "cut off"),
        (whole[:4], "cut off"),
        (b"", "empty"),
        (b"\0" * 64, "not a safetensors"),
    ):
        sound.write_bytes(content)
        (problem,) = lora_problems(sound)
        assert words in problem
    assert "no file" in lora_problems(tmp_path / "missing.safetensors")[0]


def test_a_file_of_another_step_is_not_the_one_that_was_planned(tmp_path):
    file = write(tmp_path / "a.safetensors", np.zeros((4, 16), dtype=np.float16), step=8)
    assert lora_problems(file, steps=12) == ["a.safetensors was saved at step 8, not at step 12."]


def test_a_file_without_weights_is_no_lora(tmp_path):
    file = tmp_path / "a.safetensors"
    save_file({}, file)
    assert lora_problems(file) == ["a.safetensors holds no weights."]
