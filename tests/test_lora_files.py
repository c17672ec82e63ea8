"""A LoRA file is written whole, the same bytes for the same content, readable by all tools, and judged before it counts."""

import hashlib
import json
import re
from io import BytesIO

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file

from kohya_bridge.engines.training.lora_file import read_lora, save_lora
from kohya_bridge.errors import InvalidInput, NotFound
from kohya_bridge.models.lora_check import BLOCK_BYTES
from kohya_bridge.models.lora_facts import check_lora, read_lora_facts
from kohya_bridge.models.lora_metadata import TrainingFacts, training_metadata
from kohya_bridge.plan import BaseModelFacts, DatasetFacts, TrainingRequest, make_plan

pytestmark = pytest.mark.torch

FACTS = TrainingFacts(
    step=200, epoch=7, epochs=54, train_images=27, validation_images=3, batches_per_epoch=14,
    started_at=1_764_000_000.5, finished_at=1_764_000_100.25, tag_frequency={"char_alice": 27, "smile": 9},
    buckets={(512, 512): 20, (448, 576): 7},
)  # fmt: skip


def plan_for(family="sd15", **settings):
    return make_plan(
        TrainingRequest(dataset="alice", base_model="x", settings={"mixed_precision": "bf16", **settings}),
        dataset=DatasetFacts(slug="alice", digest="d" * 64, images=30, trigger="char_alice"),
        base_model=BaseModelFacts(name="folder/base.safetensors", sha256="b" * 64, family=family),
        engine="native",
        engine_version="1",
    )


def lora_state(*, rank=4, modules=3, width=700):
    generator = torch.Generator().manual_seed(0)
    state = {}
    for number in range(modules):
        name = f"lora_unet_down_blocks_0_attentions_{number}_proj_in"
        state[f"{name}.lora_down.weight"] = torch.randn(rank, width, 1, 1, generator=generator)
        state[f"{name}.lora_up.weight"] = torch.randn(width, rank, 1, 1, generator=generator)
        state[f"{name}.alpha"] = torch.tensor(0.1)
    return state


@pytest.fixture
def file(tmp_path):
    return save_lora(
        tmp_path / "a.safetensors", lora_state(), dtype="fp16", metadata=training_metadata(plan_for(), FACTS)
    )


@pytest.mark.parametrize(
    ("dtype", "kind"), [("fp16", torch.float16), ("bf16", torch.bfloat16), ("float", torch.float32)]
)
def test_what_is_written_is_what_the_safetensors_library_reads(tmp_path, dtype, kind):
    state = lora_state()
    file = save_lora(tmp_path / "a.safetensors", state, dtype=dtype, metadata={"ss_steps": "3", "note": "çà"})
    read = load_file(file)
    assert read.keys() == state.keys()
    for key, tensor in state.items():
        assert torch.equal(read[key], tensor if key.endswith("alpha") else tensor.to(kind))
    assert safe_open(file, "pt").metadata()["note"] == "çà"
    tensors, metadata = read_lora(file)
    assert tensors.keys() == state.keys() and metadata["ss_steps"] == "3"


def test_alpha_keeps_its_exact_value_in_half_precision(file):
    alpha = load_file(file)["lora_unet_down_blocks_0_attentions_0_proj_in.alpha"]
    assert alpha.shape == () and alpha.dtype == torch.float32 and alpha == torch.tensor(0.1)


def test_the_same_content_gives_the_same_bytes(tmp_path):
    metadata = training_metadata(plan_for(), FACTS)
    shuffled = dict(reversed(metadata.items()))
    state = lora_state()
    first = save_lora(tmp_path / "a", state, dtype="fp16", metadata=metadata)
    second = save_lora(tmp_path / "b", dict(reversed(state.items())), dtype="fp16", metadata=shuffled)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("width", [700, 60_000], ids=["smaller than the hashed window", "larger"])
def test_hashes_are_those_that_sd_scripts_stores(tmp_path, width):
    file = save_lora(
        tmp_path / "a",
        lora_state(width=width),
        dtype="fp16",
        metadata={"ss_steps": "3", "modelspec.title": "x"},
    )
    stored = safe_open(file, "pt").metadata()
    # library/train_util.py: serialise with the ss_ metadata only, hash the data, and 64 KiB at 1 MiB of it all
    whole = BytesIO(save(load_file(file), {"ss_steps": "3"}))
    begin = 8 + int.from_bytes(whole.read(8), "little")
    assert stored["sshs_model_hash"] == hashlib.sha256(whole.getvalue()[begin:]).hexdigest()
    assert stored["sshs_legacy_hash"] == hashlib.sha256(whole.getvalue()[0x100000:0x110000]).hexdigest()[:8]


def test_a_failed_write_leaves_neither_a_file_nor_a_part_of_one(tmp_path):
    with pytest.raises(OSError):
        save_lora(tmp_path / "missing" / "a.safetensors", lora_state(), dtype="fp16", metadata={})
    assert list(tmp_path.iterdir()) == []


def test_facts_are_read_from_the_header(file):
    facts = read_lora_facts(file)
    assert (facts.rank, facts.alpha, facts.step, facts.family) == (4, 8.0, 200, "sd15")
    assert (len(facts.modules), facts.number_format, facts.trains_text_encoder) == (3, "F16", False)


def test_the_family_is_told_by_the_key_names_too(tmp_path):
    pair = (torch.zeros(4, 8), torch.zeros(8, 4))
    for name, family in [
        ("lora_unet_input_blocks_4_1_proj_in", "sdxl"),
        ("lora_te2_text_model_encoder_layers_0_mlp_fc1", "sdxl"),
        ("lora_te_text_model_encoder_layers_0_mlp_fc1", "sd15"),
        ("lora_unet_double_blocks_0_img_attn_qkv", None),
    ]:
        save_file(
            {f"{name}.lora_down.weight": pair[0], f"{name}.lora_up.weight": pair[1]},
            tmp_path / "x.safetensors",
        )
        assert read_lora_facts(tmp_path / "x.safetensors").family == family


def test_a_sound_lora_has_nothing_wrong_with_it(file):
    assert check_lora(file) == ()
    assert check_lora(file, step=200) == ()


def test_a_lora_of_another_step_than_planned_is_not_sound(file):
    assert check_lora(file, step=300) == ("a.safetensors was trained for 200 steps; 300 steps were planned.",)


@pytest.mark.parametrize("dtype", ["fp16", "bf16", "float"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_are_found_in_every_format(tmp_path, dtype, value):
    state = lora_state()
    assert check_lora(save_lora(tmp_path / "good", state, dtype=dtype, metadata={})) == ()
    state["lora_unet_down_blocks_0_attentions_1_proj_in.lora_up.weight"][3, 2] = value
    (problem,) = check_lora(save_lora(tmp_path / "bad", state, dtype=dtype, metadata={}))
    assert "not finite" in problem and "attentions_1" in problem


@pytest.mark.parametrize("broken", ["lora_up.weight", "alpha", "lora_down.weight"])
def test_a_module_without_one_of_its_parts_is_found(tmp_path, broken):
    state = lora_state()
    del state[f"lora_unet_down_blocks_0_attentions_1_proj_in.{broken}"]
    (problem,) = check_lora(save_lora(tmp_path / "x", state, dtype="fp16", metadata={}))
    assert "incomplete" in problem and "attentions_1" in problem


def test_matrices_that_do_not_fit_together_are_found(tmp_path):
    state = lora_state()
    state["lora_unet_down_blocks_0_attentions_1_proj_in.lora_up.weight"] = torch.zeros(8, 5, 1, 1)
    (problem,) = check_lora(save_lora(tmp_path / "x", state, dtype="fp16", metadata={}))
    assert "not fit together" in problem


def test_a_cut_off_lora_is_a_finding_and_reading_it_an_error(file):
    file.write_bytes(file.read_bytes()[:-10])
    (problem,) = check_lora(file)
    assert "cut off" in problem
    with pytest.raises(InvalidInput):
        read_lora(file)


def test_a_missing_lora_and_a_file_that_is_none_are_named(tmp_path):
    assert "no file" in check_lora(tmp_path / "x.safetensors")[0]
    with pytest.raises(NotFound):
        read_lora(tmp_path / "x.safetensors")
    save_file({"unet.x.weight": torch.zeros(4, 4)}, tmp_path / "x.safetensors")
    assert "is not a LoRA" in check_lora(tmp_path / "x.safetensors")[0]


def test_metadata_tells_tools_what_they_ask_for():
    metadata = training_metadata(
        plan_for(unet_lr=2e-4), FACTS, about={"author": "someone", "license": "CC0-1.0"}
    )
    expected = {
        "ss_network_module": "networks.lora", "ss_network_dim": "16", "ss_network_alpha": "8.0",
        "ss_base_model_version": "sd_v1", "ss_sd_model_name": "base.safetensors", "ss_new_sd_model_hash": "b" * 64,
        "ss_steps": "200", "ss_epoch": "7", "ss_unet_lr": "0.0002", "ss_text_encoder_lr": "None", "ss_v2": "False",
        "ss_training_finished_at": "1764000100.25", "ss_output_name": "alice", "ss_resolution": "(512, 512)",
        "modelspec.sai_model_spec": "1.0.1", "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.title": "alice", "modelspec.resolution": "512x512", "modelspec.prediction_type": "epsilon",
        "modelspec.trigger_phrase": "char_alice", "modelspec.author": "someone", "modelspec.license": "CC0-1.0",
        "modelspec.encoder_layer": "1", "modelspec.date": "2025-11-24T16:01:40",
    }  # fmt: skip
    assert {key: metadata.get(key) for key in expected} == expected
    assert all(isinstance(value, str) for value in metadata.values())
    assert json.loads(metadata["ss_tag_frequency"]) == {"1_alice": {"char_alice": 27, "smile": 9}}
    assert json.loads(metadata["ss_bucket_info"])["buckets"]["1"] == {"resolution": [512, 512], "count": 20}


def test_sdxl_metadata_names_its_architecture_and_convolutions_are_told():
    metadata = training_metadata(
        plan_for("sdxl", conv_dim=8, prediction_type="v_prediction", max_timestep=500), FACTS
    )
    assert metadata["modelspec.architecture"] == "stable-diffusion-xl-v1-base/lora"
    assert metadata["modelspec.prediction_type"] == "v"
    assert metadata["modelspec.timestep_range"] == "0,500"
    assert "modelspec.encoder_layer" not in metadata
    assert json.loads(metadata["ss_network_args"]) == {"conv_dim": 8, "conv_alpha": 1.0}


def test_no_path_of_this_machine_is_in_the_metadata():
    plan = plan_for()
    windows = plan.model_copy(
        update={"base_model": plan.base_model.model_copy(update={"name": r"C:\models\x.safetensors"})}
    )
    for metadata in (training_metadata(plan, FACTS), training_metadata(windows, FACTS)):
        assert not [value for value in metadata.values() if re.match(r"(/|[A-Za-z]:\\)", value)]
    assert training_metadata(windows, FACTS)["ss_sd_model_name"] == "x.safetensors"


def test_without_times_the_metadata_depends_on_the_training_alone():
    timeless = TrainingFacts(**{**vars(FACTS), "started_at": 0.0, "finished_at": 0.0})
    metadata = training_metadata(plan_for(), timeless)
    assert not [key for key in metadata if key.endswith(("_started_at", "_finished_at", ".date"))]


def test_the_last_number_of_a_large_tensor_is_checked_too(tmp_path):
    state = lora_state(modules=1, width=BLOCK_BYTES // 8 + 1)
    state["lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight"].view(-1)[-1] = np.nan
    assert "not finite" in check_lora(save_lora(tmp_path / "x", state, dtype="fp16", metadata={}))[0]
