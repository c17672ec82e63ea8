"""What differs between kinds of devices is in one place, and each kind is asked by its own functions.

Doubles stand for the devices that are not at hand; the CPU's side runs on the real torch in every training of the other tests.
"""

import ast
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kohya_bridge.device.accelerator import Accelerator
from kohya_bridge.device.description import Device
from kohya_bridge.device.graphics import has_code_for
from kohya_bridge.engines.child import ChildFailure
from kohya_bridge.engines.native.render import rendering_precision
from kohya_bridge.engines.training.meter import Meter
from kohya_bridge.engines.training.precision import compute_dtype
from kohya_bridge.workspace import PACK_ROOT
from tests.doubles.fake_torch import OutOfMemoryError, fake_torch

pytestmark = pytest.mark.torch

KINDS = {
    "cuda": lambda: fake_torch("cuda"),
    "rocm": lambda: fake_torch("cuda", hip="6.4"),
    "xpu": lambda: fake_torch("xpu"),
    "mps": lambda: fake_torch("mps"),
    "cpu": lambda: fake_torch("cpu"),
}
GPUS = ("cuda", "rocm", "xpu", "mps")


def accelerator(kind):
    return Accelerator.find(KINDS[kind]())


@pytest.mark.parametrize("kind", KINDS)
def test_the_device_is_found_and_told_apart(kind):
    found = accelerator(kind)
    assert (found.kind, found.is_gpu) == (kind, kind != "cpu")
    assert found.type == ("cuda" if kind == "rocm" else kind)
    assert Accelerator.of(found.torch, SimpleNamespace(type=found.type)) == found
    assert [each.kind for each in found.describe_all()] == [kind]


def test_every_card_is_told():
    names = [each.name for each in Accelerator.find(fake_torch("cuda", cards=3)).describe_all()]
    assert names == ["a cuda card"] * 3


@pytest.mark.parametrize("kind", GPUS)
def test_a_gpu_is_waited_for_and_its_cache_emptied_by_its_own_functions(kind):
    found = accelerator(kind)
    found.synchronise()
    found.empty_cache()
    assert found.torch.calls == [f"{found.type}.synchronize", f"{found.type}.empty_cache"]


def test_a_cpu_has_nothing_to_wait_for_and_no_memory_of_its_own():
    found = accelerator("cpu")
    found.synchronise()
    found.empty_cache()
    assert found.torch.calls == []
    assert found.reserved_gib() is found.peak_gib() is found.free_gib() is found.event() is None


@pytest.mark.parametrize(
    "kind, peak, free", [("cuda", 4.0, 10.0), ("rocm", 4.0, 10.0), ("xpu", 4.0, 10.0), ("mps", 3.0, 9.0)]
)
def test_memory_is_told_in_gib(kind, peak, free):
    found = accelerator(kind)
    assert (found.reserved_gib(), found.peak_gib(), found.free_gib()) == (3.0, peak, free)


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_travel_beside_the_work_only_where_memory_can_be_pinned(kind):
    found = accelerator(kind)
    assert found.can_pin == (kind in ("cuda", "rocm", "xpu"))
    assert (found.event() is not None) == found.can_pin


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_run_gives_the_same_bits(kind):
    found = accelerator(kind)
    found.make_repeatable()
    assert ("deterministic True True" in found.torch.calls) == found.is_gpu
    cudnn = found.torch.backends.cudnn
    assert (cudnn.benchmark, cudnn.deterministic) == (
        (False, True) if found.type == "cuda" else (True, False)
    )
    assert "set_flush_denormal" in found.torch.calls


@pytest.mark.parametrize("kind", KINDS)
def test_running_out_of_memory_is_known_by_its_type_or_its_words(kind):
    found = accelerator(kind)
    assert found.ran_out(OutOfMemoryError("CUDA out of memory."))
    assert found.ran_out(RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"))
    assert not found.ran_out(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_a_format_that_a_device_lacks_is_refused_with_its_reason():
    assert accelerator("cpu").refuses("fp16") == "a CPU has no fp16 training"
    assert "macOS 14" in Accelerator.find(fake_torch("mps", macos=(13, 1))).refuses("bf16")
    assert "a cuda card can't" in Accelerator.find(fake_torch("cuda", has_bf16=False)).refuses("bf16")
    for kind in GPUS:
        assert [accelerator(kind).refuses(name) for name in ("no", "fp16", "bf16")] == ["", "", ""]


def test_the_trainer_computes_in_what_the_plan_says_or_not_at_all():
    cpu = torch.device("cpu")
    assert compute_dtype("bf16", cpu) == torch.bfloat16 and compute_dtype("no", cpu) == torch.float32
    with pytest.raises(ChildFailure) as refused:
        compute_dtype("fp16", cpu)
    assert refused.value.problem == "mixed_precision is fp16, and a CPU has no fp16 training."
    assert "auto" in refused.value.fix


@given(st.lists(st.tuples(st.floats(0, 9), st.floats(0, 9)), min_size=1, max_size=8))
def test_the_meter_tells_every_step_in_order_on_the_real_device(numbers):
    told = []
    report = SimpleNamespace(progress=lambda step, **fields: told.append((step, fields["loss"])))
    meter = Meter(report, torch.device(Accelerator.find(torch).type))
    for step, (loss, norm) in enumerate(numbers, start=1):
        meter.put(step, torch.tensor(loss), torch.tensor(norm), epoch=1, rates={})
    meter.flush()
    assert [step for step, _ in told] == list(range(1, len(numbers) + 1))
    assert [loss for _, loss in told] == pytest.approx([loss for loss, _ in numbers], rel=1e-6)


@pytest.mark.parametrize(
    ("device", "trained_in", "rendered_in"),
    [
        (Device("cpu", "Xeon", "amx_bf16 avx2 avx512_bf16 avx512f"), "bf16", "no"),
        (Device("cpu", "EPYC", "avx2"), "bf16", "no"),
        (Device("cuda", "RTX 3060", "8.6"), "bf16", "bf16"),
        (Device("cuda", "RTX 3060", "8.6"), "no", "no"),
        (Device("cuda", "T4", "7.5"), "bf16", "fp16"),
        (Device("mps", "M1", "macos<14"), "bf16", "no"),
    ],
)
def test_a_run_of_another_machine_is_rendered_in_a_format_of_this_one(device, trained_in, rendered_in):
    assert rendering_precision(trained_in, device) == rendered_in


@pytest.mark.parametrize(
    ("device", "arch_list", "fits"),
    [
        (Device("cuda", "", "8.6"), ["sm_80", "sm_86", "sm_90"], True),
        (
            Device("cuda", "", "8.9"),
            ["sm_80", "sm_86"],
            True,
        ),  # binary code runs on later minors of its major
        (Device("cuda", "", "12.0"), ["sm_80", "sm_90"], False),
        (Device("cuda", "", "12.0"), ["sm_90", "compute_90"], True),  # PTX is compiled at first use
        (Device("cuda", "", "6.1"), ["sm_70", "sm_80"], False),
        (Device("cuda", "", "9.0"), ["sm_90a"], True),
        (Device("rocm", "", "gfx1100"), ["gfx906", "gfx1100"], True),
        (Device("rocm", "", "gfx1030"), ["gfx90a:xnack-"], False),
        (Device("xpu", "", "xmx"), [], True),
        (Device("mps", "", None), [], True),
    ],
)
def test_a_card_fits_a_torch_that_has_code_for_it(device, arch_list, fits):
    assert has_code_for(device, arch_list) is fits


def names_a_kind(tree):
    """Whether code asks torch for a kind of device itself, or compares with one's name."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and node.attr in ("cuda", "xpu", "mps")
            and not isinstance(node.ctx, ast.Store)
        ):
            owner = ast.unparse(node.value)
            if owner in ("torch", "self.torch", "torch.backends"):
                return True
        if isinstance(node, ast.Constant) and node.value in ("cuda", "xpu", "mps", "rocm"):
            return True
    return False


def test_no_other_room_names_a_kind_of_device():
    files = [each for folder in ("kohya_bridge", "nodes") for each in (PACK_ROOT / folder).rglob("*.py")]
    guilty = {
        each.relative_to(PACK_ROOT).as_posix()
        for each in files
        if "device" not in each.parent.name and names_a_kind(ast.parse(each.read_text("utf-8")))
    }
    facts = {"kohya_bridge/engines/training/environment.py", "kohya_bridge/engines/kohya/runner.py"}
    assert guilty == facts, "these two write down `torch.version.cuda` under that name"
