"""What a training will take, told before it starts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kohya_bridge.architectures import ARCHITECTURES, architecture
from kohya_bridge.device.description import Device
from kohya_bridge.device.rates import data_sheet_tflops
from kohya_bridge.models.stored_weights import StoredWeights, weights_in
from kohya_bridge.runs.forecast import forecast, memory_problems, step_tflop
from tests.architectures import golden
from tests.architectures.test_conformance import plan_of

CARD = Device("cuda", "NVIDIA GeForce RTX 4090", "8.9", 24.0)
SMALL = Device("cuda", "NVIDIA GeForce RTX 3060 Laptop GPU", "8.6", 6.0)
UNKNOWN = Device("rocm", "AMD GPU", "gfx1100", 24.0)
A_CPU = Device("cpu", "a CPU", "avx2")


def plan(family="zimage", **settings):
    made = plan_of(architecture(family))
    return made.model_copy(update={"settings": made.settings.model_copy(update=settings)})


def told(family="zimage", *, device=CARD, stored=None, former=(), **settings):
    return forecast(plan(family, **settings), stored, device, former)


DEARER = {
    "train_batch_size": (1, 4),
    "resolution": (512, 1024),
    "network_dim": (8, 64),
    "gradient_checkpointing": (True, False),
    "mixed_precision": ("bf16", "no"),
    "diff_output_preservation_multiplier": (0.0, 1.0),
}
SLOWER = {**DEARER, "gradient_accumulation_steps": (1, 4), "gradient_checkpointing": (False, True)}
del SLOWER["network_dim"]


@given(family=st.sampled_from(sorted(ARCHITECTURES)), what=st.sampled_from(sorted(DEARER)))
def test_it_needs_more_memory_for_what_costs_memory_in_every_family(family, what):
    less, more = (told(family, **{what: value}) for value in DEARER[what])
    assert less.training_gib < more.training_gib


@given(family=st.sampled_from(sorted(ARCHITECTURES)), what=st.sampled_from(sorted(SLOWER)))
def test_a_step_takes_longer_for_what_costs_time_in_every_family(family, what):
    less, more = (told(family, **{what: value}) for value in SLOWER[what])
    assert less.seconds_per_step < more.seconds_per_step


WHOLE = round(11.5 * 2**29)
"""Weights of a full-size Z-Image."""


def test_a_base_in_fp8_takes_half_the_room_where_its_format_is_kept():
    half, eighth = (told(stored=StoredWeights(WHOLE, small, small)) for small in (0, WHOLE))
    assert half.training_gib - eighth.training_gib == pytest.approx(WHOLE / 2**30)
    cast = [told("sd15", stored=StoredWeights(WHOLE, small, small)) for small in (0, WHOLE)]
    assert cast[0].training_gib == cast[1].training_gib


def test_a_much_smaller_base_costs_less_of_everything():
    whole, tiny = told(), told(stored=StoredWeights(1_000_000, 0, 0))
    assert tiny.training_gib < 1 and tiny.seconds_per_step < whole.seconds_per_step / 1000


def test_weights_are_counted_by_the_header_with_what_each_format_takes(tmp_path):
    names = {"model.diffusion_model.a": (8, 8), "model.diffusion_model.b": (2,), "vae.c": (4,)}
    assert weights_in(golden.write(tmp_path / "half.safetensors", names)) == StoredWeights(66, 0, 0)
    eighth = golden.write(tmp_path / "fp8.safetensors", names, dtype="F8_E4M3", width=1)
    assert weights_in(eighth) == StoredWeights(66, 66, 66)
    packed = golden.write(tmp_path / "nvfp4.safetensors", {"a": (8, 4)}, dtype="U8", width=1)
    assert weights_in(packed) == StoredWeights(64, 64, 32)
    assert weights_in(tmp_path) is None and weights_in(tmp_path / "no.safetensors") is None


def test_a_card_that_is_too_small_is_told_of_with_what_is_not_done_yet():
    (advice,) = memory_problems(
        told(device=SMALL, gradient_checkpointing=False),
        plan(gradient_checkpointing=False),
    )
    assert advice.blocks is False and "the card has 6 GiB" in advice.problem
    assert "gradient_checkpointing" in advice.fix and "fp8" in advice.fix
    assert memory_problems(told(), plan()) == []
    assert memory_problems(told(device=A_CPU), plan()) == []


def test_where_only_the_text_encoder_is_too_large_that_is_said():
    device = Device("cuda", "NVIDIA GeForce RTX 4060", "8.9", 8.0)
    small = {"resolution": 512, "network_dim": 4}
    (advice,) = memory_problems(
        told("flux2_klein_4b", device=device, stored=StoredWeights(*[round(7.2 * 2**29)] * 3), **small),
        plan("flux2_klein_4b", **small),
    )
    assert "text encoder" in advice.fix


def line(made, *, seconds, gpu="NVIDIA GeForce RTX 4090", **settings):
    return {
        "run_id": "abcdefabcdef",
        "engine": made.engine,
        "base_model": made.base_model.model_dump(),
        "settings": {**made.settings.model_dump(mode="json"), **settings},
        "environment": {"device": "cuda", "gpu": gpu},
        "seconds_per_step": seconds,
    }


def test_a_former_run_of_the_same_base_on_the_same_device_says_how_fast_it_is():
    made = plan()
    known = told(former=[line(made, seconds=9.0), line(made, seconds=4.0)])
    assert known.seconds_per_step == 4.0 and "as fast as run abcdefabcdef" in known.sentence()
    smaller = told(former=[line(made, seconds=4.0)], resolution=512)
    assert smaller.seconds_per_step == pytest.approx(1.0)
    at_sheet = told()
    others = [line(made, seconds=4.0, gpu="another"), line(made, seconds=4.0, mixed_precision="no")]
    others += [line(made, seconds=None), {}, {"settings": 3}, line(made, seconds=0)]
    assert told(former=others) == at_sheet


def test_what_nobody_knows_is_not_told():
    assert data_sheet_tflops(UNKNOWN, "bf16") is None
    unknown = told(device=UNKNOWN)
    assert unknown.seconds_per_step is None
    assert "TFLOP a step" in unknown.sentence() and "once a run" in unknown.sentence()


def test_a_step_is_a_forward_pass_a_backward_pass_and_one_more_where_blocks_are_recomputed():
    family = architecture("zimage")
    plain = step_tflop(plan(gradient_checkpointing=False).settings, family)
    assert plain == 2 * family.estimates.forward_tflop
    assert step_tflop(plan(gradient_checkpointing=True).settings, family) == 1.5 * plain
    both = plan(gradient_checkpointing=False, diff_output_preservation_multiplier=1.0)
    assert step_tflop(both.settings, family) == 2.5 * plain


@pytest.mark.parametrize(
    ("name", "half", "full"),
    [
        ("NVIDIA H200", 989, 67),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", 88.2, 44.1),
        ("NVIDIA GeForce RTX 4070", 58.3, 29.1),
        ("NVIDIA A100-SXM4-80GB", 312, 19.5),
        ("NVIDIA L4", 121, 30.3),
        ("NVIDIA RTX 6000 Ada Generation", 364, 91.1),
    ],
)
def test_a_card_is_known_by_its_name(name, half, full):
    device = Device("cuda", name, "8.9")
    assert (data_sheet_tflops(device, "bf16"), data_sheet_tflops(device, "no")) == (half, full)
