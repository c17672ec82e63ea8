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
