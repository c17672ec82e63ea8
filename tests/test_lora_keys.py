"""The names in LoRA files: there and back for every path, the same layer in every naming."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from kohya_bridge.architectures import ARCHITECTURES
from kohya_bridge.models.lora_facts import check_lora, read_lora_facts
from kohya_bridge.models.lora_keys import (
    KOHYA,
    PEFT,
    in_naming_of,
    is_text_encoders,
    layer,
    modules_of,
    read_key,
)
from kohya_bridge.models.lora_kinds import names_of_host
from tests.architectures import golden

part = st.from_regex(r"[a-z][a-z0-9_]{0,14}|[0-9]{1,2}", fullmatch=True)
paths = st.lists(part, min_size=1, max_size=7).map(".".join)
PARTS = ("down", "up", "alpha")
ALL_PATHS = [
    name.removesuffix(".weight")
    for _, _, tensors in golden.FAMILIES
    for name, size in tensors.items()
    if name.endswith(".weight") and len(size) == 2
]


@given(path=paths, naming=st.sampled_from((KOHYA, PEFT)), which=st.sampled_from(PARTS))
def test_a_name_leads_back_to_its_layer_and_its_part(path, naming, which):
    key = read_key(naming.key(path, which))
    assert (key.module, key.part) == (naming.module(path), which)
    assert layer(key.module) == path.replace(".", "_")
    assert not is_text_encoders(key.module)


@given(path=paths)
def test_both_namings_mean_the_same_layer_and_pefts_spells_its_path(path):
    assert layer(KOHYA.module(path)) == layer(PEFT.module(path))
    assert PEFT.module(path).removeprefix(PEFT.prefix) == path


@pytest.mark.parametrize("naming", [KOHYA, PEFT])
def test_every_matrix_of_every_family_is_found_back_among_its_models_paths(naming):
    for _, _, tensors in golden.FAMILIES:
        own = [name.removesuffix(".weight") for name in tensors if name.endswith(".weight")]
        back = {layer(path): path for path in own}
        assert all(back[layer(naming.module(path))] == path for path in own)


@given(st.lists(st.sampled_from(ALL_PATHS), unique=True, max_size=20))
def test_a_file_in_the_other_naming_is_matched_tensor_by_tensor(chosen):
    ours = [KOHYA.key(path, which) for path in chosen for which in PARTS]
    theirs = [PEFT.key(path, which) for path in chosen for which in PARTS]
    assert dict(in_naming_of(ours, theirs)) == dict(zip(ours, theirs, strict=True))


@pytest.mark.parametrize(
    ("name", "module", "which"),
    [
        ("lora_unet_x.lora_mid.weight", "lora_unet_x", "mid"),
        ("diffusion_model.x.lora_A.default.weight", "diffusion_model.x", "down"),
        ("transformer.x.lora.up.weight", "transformer.x", "up"),
        ("unet.a.to_q_lora.down.weight", "unet.a.to_q", "down"),
        ("lora_unet_x.dora_scale", "lora_unet_x", "dora"),
        ("diffusion_model.x.lora_magnitude_vector", "diffusion_model.x", "dora"),
    ],
)
def test_further_spellings_are_read(name, module, which):
    key = read_key(name)
    assert (key.module, key.part) == (module, which)


@pytest.mark.parametrize("name", ["x.weight", ".alpha", "model.diffusion_model.out.2.bias", "emb_params", ""])
def test_what_is_no_part_of_an_update_is_none(name):
    assert read_key(name) is None


@pytest.mark.parametrize(
    "names",
    [
        ("lora_te_text_model_x", "text_encoder.text_model.x"),
        ("lora_te2_text_model_x", "text_encoder_2.text_model.x"),
    ],
)
def test_the_text_encoders_layers_have_one_name_each(names):
    assert len({layer(name) for name in names}) == 1
    assert all(is_text_encoders(name) for name in names)


ONETRAINERS = ("", "unet.", "transformer.", "lora_unet.", "lora_transformer.")
ENDINGS = (
    ".lora_down.weight", ".lora_A.weight", ".alpha", ".dora_scale", ".hada_w1_a", ".lokr_w2", ".oft_R.weight", ".diff_b",
)  # fmt: skip


@given(path=st.sampled_from(ALL_PATHS), before=st.sampled_from(ONETRAINERS), ending=st.sampled_from(ENDINGS))
def test_a_name_that_comfyui_does_not_know_becomes_the_one_of_its_layer(path, before, ending):
    known = [KOHYA.module(path), PEFT.module(path), "lora_unet_elsewhere"]
    (new,) = names_of_host([before + path + ending], known).values()
    assert new in (KOHYA.module(path) + ending, PEFT.module(path) + ending)


@given(path=st.sampled_from(ALL_PATHS), ending=st.sampled_from(ENDINGS))
def test_what_comfyui_knows_and_what_no_layer_has_keep_their_names(path, ending):
    names = [KOHYA.module(path) + ending, f"unet.nowhere.at.all{ending}", "bundle_emb.x", "emb_params"]
    assert names_of_host(names, [KOHYA.module(path)]) == {}


def test_two_modules_are_never_made_one():
    names = ["unet.x.lora_down.weight", "transformer.x.lora_down.weight", "unet.y.lora_down.weight"]
    assert names_of_host(names, ["diffusion_model.x", "lora_unet_y"]) == {
        "unet.y.lora_down.weight": "lora_unet_y.lora_down.weight"
    }


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("clip_l.text_model.encoder.layers.0.mlp.fc1", "lora_te1_text_model_encoder_layers_0_mlp_fc1"),
        ("clip_l.text_model.encoder.layers.0.mlp.fc1", "lora_te_text_model_encoder_layers_0_mlp_fc1"),
        ("clip_g.text_model.encoder.layers.0.mlp.fc1", "lora_te2_text_model_encoder_layers_0_mlp_fc1"),
        ("t5.encoder.block.0.layer.0.SelfAttention.k", "lora_te2_encoder_block_0_layer_0_SelfAttention_k"),
        ("t5.encoder.block.0.layer.0.SelfAttention.k", "lora_te3_encoder_block_0_layer_0_SelfAttention_k"),
        ("text_encoder.text_model.x", "lora_te1_text_model_x"),
        ("unet.down_blocks.0.attn1.processor.to_out", "lora_unet_down_blocks_0_attn1_to_out_0"),
        ("unet.down_blocks.0.attn1.to_q", "unet.down_blocks.0.attn1.processor.to_q"),
    ],
)
def test_encoders_and_processors_have_the_names_that_comfyui_has_for_them(theirs, ours):
    assert names_of_host([f"{theirs}.lora_A.weight"], [ours]) == {
        f"{theirs}.lora_A.weight": f"{ours}.lora_A.weight"
    }


def test_modules_are_those_that_have_a_matrix():
    names = ["a.lora_A.weight", "a.lora_B.weight", "a.alpha", "b.alpha", "c.weight"]
    assert modules_of(names) == {
        "a": {"down": "a.lora_A.weight", "up": "a.lora_B.weight", "alpha": "a.alpha"}
    }


def lora_of(family, naming, rank=4):
    """Tensor names and shapes of a LoRA on every matrix of a family's golden model."""
    names = {}
    for name, size in golden.tensors_of(family).items():
        if name.endswith(".weight") and len(size) == 2:
            path = name.removesuffix(".weight")
            names[naming.key(path, "down")] = (rank, size[1])
            names[naming.key(path, "up")] = (size[0], rank)
            names[naming.key(path, "alpha")] = ()
    return names


@pytest.mark.parametrize("naming", [KOHYA, PEFT], ids=["kohya", "peft"])
@pytest.mark.parametrize("family", dict.fromkeys(name for name, _, _ in golden.FAMILIES))
def test_a_lora_without_metadata_is_known_by_its_layers(family, naming, tmp_path):
    file = golden.write(tmp_path / "lora.safetensors", lora_of(family, naming))
    facts = read_lora_facts(file)
    alike = {each.name for each in ARCHITECTURES.values() if each.marks == ARCHITECTURES[family].marks}
    assert facts.family in alike
    assert (facts.rank, facts.number_format, facts.trains_text_encoder) == (4, "BF16", False)
    assert check_lora(file) == ()


@pytest.mark.parametrize("alpha", [None, 2.0, 16.0])
def test_rank_and_alpha_of_a_file_with_pefts_names(tmp_path, alpha):
    """Without alphas a loader takes the update as it is: alpha is the rank."""
    tensors = {
        "diffusion_model.a.lora_A.weight": np.ones((8, 3)),
        "diffusion_model.a.lora_B.weight": np.ones((5, 8)),
    }
    if alpha is not None:
        tensors["diffusion_model.a.alpha"] = np.array(alpha, np.float16)
    save_file(tensors, tmp_path / "lora.safetensors")
    facts = read_lora_facts(tmp_path / "lora.safetensors")
    assert (facts.rank, facts.alpha) == (8, alpha or 8.0)
    assert check_lora(tmp_path / "lora.safetensors") == ()
