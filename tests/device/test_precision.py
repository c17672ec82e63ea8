"""What `mixed_precision: auto` means on each kind of device, and what asking for another format costs."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kohya_bridge.device.description import KINDS, Device
from kohya_bridge.device.precision import settled, usual, verdict
from kohya_bridge.engines.precision_problems import precision_problems
from kohya_bridge.settings import TrainingSettings

AVX2 = Device("cpu", "AMD EPYC", "avx2")
TABLE = {
    "cpu with AMX": (Device("cpu", "Xeon", "amx_bf16 avx2 avx512_bf16 avx512f"), "bf16"),
    "cpu with AVX512-BF16": (Device("cpu", "EPYC 9654", "avx2 avx512_bf16 avx512f"), "bf16"),
    "Arm cpu with bf16": (Device("cpu", "Neoverse V1", "asimd bf16"), "bf16"),
    "cpu with AVX-512 alone": (Device("cpu", "Xeon 6148", "avx2 avx512f"), "no"),
    "cpu with AVX2": (AVX2, "no"),
    "H100": (Device("cuda", "NVIDIA H100", "9.0"), "bf16"),
    "RTX 5090": (Device("cuda", "NVIDIA GeForce RTX 5090", "12.0"), "bf16"),
    "RTX 3060": (Device("cuda", "NVIDIA GeForce RTX 3060", "8.6"), "bf16"),
    "RTX 2080": (Device("cuda", "NVIDIA GeForce RTX 2080", "7.5"), "fp16"),
    "T4": (Device("cuda", "Tesla T4", "7.5"), "fp16"),
    "V100": (Device("cuda", "Tesla V100-SXM2-16GB", "7.0"), "fp16"),
    "GTX 1660": (Device("cuda", "NVIDIA GeForce GTX 1660 Ti", "7.5"), "no"),
    "MX550": (Device("cuda", "NVIDIA GeForce MX550", "7.5"), "no"),
    "GTX 1080": (Device("cuda", "NVIDIA GeForce GTX 1080", "6.1"), "fp16"),
    "P100": (Device("cuda", "Tesla P100-PCIE-16GB", "6.0"), "fp16"),
    "GTX 980": (Device("cuda", "NVIDIA GeForce GTX 980", "5.2"), "no"),
    "MI300X": (Device("rocm", "AMD GPU", "gfx942"), "bf16"),
    "MI100": (Device("rocm", "AMD GPU", "gfx908"), "bf16"),
    "RX 7900": (Device("rocm", "AMD GPU", "gfx1100"), "bf16"),
    "RX 9070": (Device("rocm", "AMD GPU", "gfx1201"), "bf16"),
    "RX 6800": (Device("rocm", "AMD GPU", "gfx1030"), "fp16"),
    "Radeon VII": (Device("rocm", "AMD GPU", "gfx906"), "fp16"),
    "Arc A770": (Device("xpu", "Intel Arc A770", "xmx"), "bf16"),
    "old macOS": (Device("mps", "Apple M1", "macos<14"), "no"),
}
TO_MEASURE = {
    "Apple": Device("mps", "Apple M1", "macos14"),
    "Intel without matrix engines": Device("xpu", "Intel Graphics", "xe"),
    "a card nobody knows": Device("rocm", "AMD GPU", "gfx803"),
    "cpu of a system that tells nothing": Device("cpu", "AMD64 Family 25", None),
    "Arm cpu without bf16": Device("cpu", "Neoverse N1", "asimd"),
    "Arrow Lake": Device("cpu", "Core Ultra 9 285K", "avx2 avx_ne_convert"),
}
measurable = st.floats(0.05, 200.0) | st.just(math.inf)
devices = st.builds(
    Device,
    kind=st.sampled_from(KINDS),
    name=st.sampled_from(["", "NVIDIA GeForce GTX 1650", "a card"]),
    arch=st.none() | st.sampled_from(sorted({each.arch for each, _ in TABLE.values()})),
    memory_gib=st.none() | st.floats(1, 200),
    slower=st.just({}) | st.fixed_dictionaries({"bf16": measurable, "fp16": measurable}),
).filter(lambda each: each.kind != "cuda" or not each.arch or each.arch.replace(".", "").isdigit())


@pytest.mark.parametrize("device, best", TABLE.values(), ids=TABLE)
def test_what_is_known_of_a_device_decides_without_measuring(device, best):
    known = verdict(device)
    assert known is not None and known.best == best
    assert usual(device).reason == f"{best}: {known.why}"


@pytest.mark.parametrize("device", TO_MEASURE.values(), ids=TO_MEASURE)
def test_what_the_table_does_not_know_has_to_be_measured(device):
    assert verdict(device) is None


def test_the_reason_names_what_the_other_choice_would_cost():
    reason = usual(AVX2).reason
    assert reason == "no: this CPU has no bf16 arithmetic; bf16 would be about 40 times slower"


@pytest.mark.parametrize(
    "slower, best",
    [
        ({"bf16": 0.5, "fp16": 0.5}, "bf16"),
        ({"bf16": 1.2, "fp16": 0.5}, "bf16"),
        ({"bf16": 3.0, "fp16": 0.6}, "fp16"),
        ({"bf16": math.inf, "fp16": math.inf}, "no"),
        ({"bf16": 41.0, "fp16": 50.0}, "no"),
    ],
)
def test_measured_times_decide_on_a_card_that_nobody_knows(slower, best):
    assert usual(Device("mps", "Apple M1", "macos14", slower=slower)).name == best


def test_a_cpu_never_gets_fp16_however_fast_it_is_measured():
    device = Device("cpu", "a CPU", None, slower={"bf16": 30.0, "fp16": 0.5})
    assert usual(device).name == "no"
    assert [each.blocks for each in precision_problems("fp16", device, lambda: device)] == [True]


@given(devices)
def test_every_device_gets_a_format_that_it_has_and_that_a_plan_takes(device):
    precision, known = usual(device), settled(device)
    assert precision.name not in known.impossible and precision.reason.startswith(f"{precision.name}: ")
    assert TrainingSettings(mixed_precision=precision.name).mixed_precision != "auto"
    assert not [each for each in precision_problems(precision.name, device, lambda: device) if each.blocks]
    assert not precision_problems("no", device, lambda: device)


@given(devices)
def test_a_device_is_told_and_read_back_as_json(device):
    assert Device.from_json(device.to_json()) == device


def test_bf16_by_name_is_had_on_a_cpu_without_it_with_a_warning_that_names_the_factor():
    (problem,) = precision_problems("bf16", AVX2, lambda: pytest.fail("the factor is known"))
    assert not problem.blocks
    assert "about 40 times as long" in problem.problem and "auto" in problem.fix


def test_a_factor_that_the_table_lacks_is_measured():
    turing = Device("cuda", "Tesla T4", "7.5")
    measured = Device("cuda", "Tesla T4", "7.5", slower={"bf16": 6.2, "fp16": 0.2})
    (problem,) = precision_problems("bf16", turing, lambda: measured)
    assert not problem.blocks and "about 6 times as long" in problem.problem
    refused = Device("cuda", "Tesla T4", "7.5", slower={"bf16": math.inf, "fp16": 0.2})
    (problem,) = precision_problems("bf16", turing, lambda: refused)
    assert problem.blocks
