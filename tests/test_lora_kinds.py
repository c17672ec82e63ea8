"""Every kind of LoRA that LyCORIS writes is known by its tensors, is whole only with all of them, and is refused where it is not read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from kohya_bridge.errors import InvalidInput
from kohya_bridge.models.lora_facts import check_lora, read_lora_facts
from kohya_bridge.models.lora_kinds import kind_of, read_modules, refuse_unread

RANK, OUT, INTO = 4, 16, 8
ALPHA = {"alpha": ()}
PARTS = {
    "LoRA": {"lora_down.weight": (RANK, INTO), "lora_up.weight": (OUT, RANK), **ALPHA},
    "DoRA": {"lora_down.weight": (RANK, INTO), "lora_up.weight": (OUT, RANK), "dora_scale": (1, INTO), **ALPHA},
    "LoHa": {"hada_w1_a": (OUT, RANK), "hada_w1_b": (RANK, INTO), "hada_w2_a": (OUT, RANK), "hada_w2_b": (RANK, INTO), **ALPHA},
    "LoKr": {"lokr_w1": (4, 4), "lokr_w2_a": (4, RANK), "lokr_w2_b": (RANK, 2), **ALPHA},
    "LoKr of whole matrices": {"lokr_w1": (4, 4), "lokr_w2": (4, 2), **ALPHA},
    "LoKr of four": {"lokr_w1_a": (4, RANK), "lokr_w1_b": (RANK, 4), "lokr_w2_a": (4, RANK), "lokr_w2_b": (RANK, 2), **ALPHA},
    "LoHa with DoRA": {"hada_w1_a": (OUT, RANK), "hada_w1_b": (RANK, INTO), "hada_w2_a": (OUT, RANK), "hada_w2_b": (RANK, INTO), "dora_scale": (1, INTO)},
    "OFT": {"oft_blocks": (4, 4, 4), **ALPHA},
    "GLoRA": {"a1.weight": (RANK, INTO), "a2.weight": (INTO, RANK), "b1.weight": (RANK, INTO), "b2.weight": (OUT, RANK), **ALPHA},
    "full difference": {"diff": (OUT, INTO), "diff_b": (OUT,)},
}  # fmt: skip
NEEDLESS = {"alpha", "dora_scale", "diff_b", "diff"}
names = st.from_regex(r"lora_unet_[a-z][a-z0-9_]{0,20}", fullmatch=True)


def tensors_of(kind, modules=("lora_unet_one", "lora_unet_two")):
    return {
        f"{module}.{part}": np.ones(shape, np.float32)
        for module in modules
        for part, shape in PARTS[kind].items()
    }


@pytest.mark.parametrize("kind", PARTS)
def test_a_file_of_each_kind_is_sound_and_called_what_it_is(kind, tmp_path):
    file = tmp_path / "x.safetensors"
    save_file(tensors_of(kind), file)
    facts = read_lora_facts(file)
    assert check_lora(file) == () and len(facts.modules) == 2
    assert facts.kind == kind.split(" of ")[0]
    assert facts.rank == (RANK if any(RANK in shape[:1] for part, shape in PARTS[kind].items() if "w2_b" in part or "down" in part or part in ("hada_w1_b", "a1.weight")) else None)  # fmt: skip


@given(
    kind=st.sampled_from(list(PARTS)),
    modules=st.lists(names, min_size=1, max_size=4, unique=True),
    data=st.data(),
)
def test_whatever_is_missing_is_missed(kind, modules, data):
    needed = [part for part in PARTS[kind] if part not in NEEDLESS]
    state = dict.fromkeys(tensors_of(kind, modules))
    assert all(each.is_whole for each in read_modules(state).values())
    if needed:
        del state[f"{data.draw(st.sampled_from(modules))}.{data.draw(st.sampled_from(needed))}"]
        left = read_modules(state)
        assert len(left) < len(modules) or not all(each.is_whole for each in left.values())


@given(kinds=st.lists(st.sampled_from(["LoRA", "LoHa", "LoKr"]), min_size=1, max_size=6))
def test_a_file_of_several_kinds_is_called_by_most_of_its_modules(kinds):
    state = {}
    for number, kind in enumerate(kinds):
        state |= tensors_of(kind, (f"lora_unet_m{number}",))
    assert kinds.count(kind_of(read_modules(state).values())) == max(map(kinds.count, kinds))


@pytest.mark.parametrize("kind", [each for each in PARTS if each != "LoRA"])
def test_where_plain_pairs_are_read_the_others_are_refused_by_their_name(kind):
    with pytest.raises(InvalidInput, match=kind.split(" ")[0]):
        refuse_unread(tensors_of(kind), "x.safetensors")


def test_a_stray_tensor_and_a_number_that_is_none_are_told(tmp_path):
    file = tmp_path / "x.safetensors"
    save_file({**tensors_of("LoKr"), "stray.weight": np.ones(2, np.float32)}, file)
    assert "stray.weight" in check_lora(file)[0]
    save_file({name: np.full_like(each, np.nan) for name, each in tensors_of("LoHa").items()}, file)
    assert "not finite" in check_lora(file)[0]
