"""The device is found without torch where that is possible, else by a child whose answer is kept."""

import json
import os
import platform
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kohya_bridge import doctor
from kohya_bridge.device import finding
from kohya_bridge.device.accelerator import Accelerator
from kohya_bridge.device.description import Device
from kohya_bridge.device.finding import find_device, look
from kohya_bridge.device.graphics import amd_cards, gfx_name
from kohya_bridge.device.installed_torch import TorchBuild, torch_build
from kohya_bridge.device.precision import usual
from kohya_bridge.device.processor import DECISIVE, instruction_sets, processor_name
from kohya_bridge.doctor import examine_machine
from kohya_bridge.workspace import PACK_ROOT, Workspace
from tests.doubles.fake_torch import fake_torch

on_x86_linux = pytest.mark.skipif(
    platform.machine() != "x86_64" or sys.platform != "linux",
    reason="limits oneDNN's instruction sets of x86",
)
on_posix = pytest.mark.skipif(os.name != "posix", reason="puts a shell script in nvidia-smi's place")
XEON = "processor\t: 0\nmodel name\t: Intel(R) Xeon(R)\nflags\t\t: fpu avx2 avx512f avx512_bf16 amx_bf16 amx_tile\n"
CARDS = {
    "3060": "NVIDIA GeForce RTX 3060, 12288 MiB, 570.1, 8.6",
    "1080": "NVIDIA GeForce GTX 1080, 8192 MiB, 570.1, 6.1",
    "4090": "NVIDIA GeForce RTX 4090, 24564 MiB, 570.1, 8.9",
}


def cpuinfo(tmp_path, text):
    file = tmp_path / "cpuinfo"
    file.write_text(text)
    return file


def environment_with(tmp_path, **builds):
    """An interpreter whose environment holds a torch of that build. It can't be started."""
    lines = [f"{name}: Optional[str] = {value!r}" for name, value in builds.items()]
    place = tmp_path / "venv" / "lib" / "python3.11" / "site-packages" / "torch"
    place.mkdir(parents=True)
    (place / "version.py").write_text("\n".join(["__version__ = '2.13.0'", "debug = False", *lines]))
    interpreter = tmp_path / "venv" / "bin" / "python"
    interpreter.parent.mkdir()
    interpreter.touch()
    return interpreter


@pytest.fixture
def cards(tmp_path, monkeypatch):
    """Puts an `nvidia-smi` on the path that lists these cards."""

    def put(*names):
        tool = tmp_path / "bin" / "nvidia-smi"
        tool.parent.mkdir(exist_ok=True)
        tool.write_text("#!/bin/sh\ncat <<'E'\n" + "\n".join(CARDS[name] for name in names) + "\nE\n")
        tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")

    for name in finding.CHOOSING:
        monkeypatch.delenv(name, raising=False)
    return put


# --- the processor -----------------------------------------------------------------------------------------------------


def test_the_processor_is_read_from_the_kernel(tmp_path):
    file = cpuinfo(tmp_path, XEON)
    assert instruction_sets(file, {}) == {"avx2", "avx512f", "avx512_bf16", "amx_bf16"}
    assert processor_name(file) == "Intel(R) Xeon(R)"


def test_an_arm_processor_lists_its_features(tmp_path):
    assert instruction_sets(cpuinfo(tmp_path, "Features\t: fp asimd i8mm bf16 sve\n"), {}) == {
        "asimd",
        "bf16",
    }


def test_a_system_without_the_file_tells_nothing(tmp_path):
    assert instruction_sets(tmp_path / "none", {}) is None
    assert processor_name(tmp_path / "none")


@pytest.mark.parametrize(
    "limit, best",
    [
        ({"ONEDNN_MAX_CPU_ISA": "AVX2"}, "no"),
        ({"DNNL_MAX_CPU_ISA": "avx2"}, "no"),
        ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}, "no"),
        ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, "bf16"),
        ({"ONEDNN_MAX_CPU_ISA": "DEFAULT"}, "bf16"),
        ({"ATEN_CPU_CAPABILITY": "avx2"}, "bf16"),  # products and convolutions in bf16 are oneDNN's
        ({}, "bf16"),
    ],
)
def test_what_the_environment_takes_from_onednn_is_not_counted_on(tmp_path, limit, best):
    have = instruction_sets(cpuinfo(tmp_path, XEON), limit)
    assert usual(Device("cpu", "Xeon", " ".join(sorted(have)))).name == best


@given(st.sets(st.sampled_from(DECISIVE)), st.text(max_size=20))
def test_a_limit_only_ever_takes_away(tmp_path_factory, flags, limit):
    file = tmp_path_factory.getbasetemp() / "cpuinfo"
    file.write_text(f"flags\t\t: {' '.join(sorted(flags))}\n")
    assert instruction_sets(file, {"ONEDNN_MAX_CPU_ISA": limit}) <= flags == instruction_sets(file, {})


# --- which torch -------------------------------------------------------------------------------------------------------


@pytest.mark.torch
def test_the_build_of_the_installed_torch_is_read_without_importing_it():
    code = (
        "import sys; from kohya_bridge.device.installed_torch import torch_build as t;"
        "print(t().version, 'torch' in sys.modules)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=PACK_ROOT, capture_output=True, text=True, check=True
    )
    import torch

    assert said.stdout.split() == [torch.__version__, "False"]
    assert torch_build().cuda == torch.version.cuda


def test_the_build_of_another_interpreter_is_read_beside_it(tmp_path):
    interpreter = environment_with(tmp_path, cuda="12.8", hip=None)
    assert torch_build(interpreter) == TorchBuild("2.13.0", cuda="12.8")
    assert torch_build(tmp_path / "elsewhere" / "bin" / "python") is None


# --- graphics cards ----------------------------------------------------------------------------------------------------


@on_posix
def test_nvidias_card_is_known_without_asking_torch(tmp_path, cards):
    cards("3060")
    found = find_device(tmp_path / "cache", interpreter=environment_with(tmp_path, cuda="12.8"))
    assert found == Device("cuda", "NVIDIA GeForce RTX 3060", "8.6", 12.0)
    assert usual(found).reason == "bf16: compute capability 8.6 has bf16 arithmetic"


@on_posix
def test_cards_of_different_minds_are_a_question_for_torch(tmp_path, cards):
    interpreter = environment_with(tmp_path, cuda="12.8")
    cards("3060", "4090")
    assert look(interpreter).arch == "8.6"
    cards("3060", "1080")
    assert look(interpreter) is None


@on_posix
def test_which_cards_are_visible_is_torchs_to_say_and_none_is_the_cpu(tmp_path, cards):
    cards("3060")
    interpreter = environment_with(tmp_path, cuda="12.8")
    assert look(interpreter, {"CUDA_VISIBLE_DEVICES": "1"}) is None
    assert look(interpreter, {"CUDA_VISIBLE_DEVICES": ""}).kind == "cpu"
    assert look(interpreter, {"CUDA_VISIBLE_DEVICES": "-1"}).kind == "cpu"


@on_posix
def test_a_torch_for_the_cpu_trains_on_the_cpu_whatever_cards_there_are(tmp_path, cards):
    cards("4090")
    assert look(environment_with(tmp_path, cuda=None)).kind == "cpu"


def test_a_torch_for_intels_cards_is_asked(tmp_path):
    assert look(environment_with(tmp_path, xpu="20250.1"), {}) is None


def test_amds_cards_are_read_from_the_kernel(tmp_path):
    for number, version in enumerate((0, 90010, 110000)):
        node = tmp_path / str(number)
        node.mkdir()
        (node / "properties").write_text(f"cpu_cores_count 8\ngfx_target_version {version}\nvendor_id 4098\n")
    assert [each.arch for each in amd_cards(tmp_path)] == ["gfx90a", "gfx1100"]
    assert amd_cards(tmp_path / "none") == []
    assert gfx_name(90402) == "gfx942"


@pytest.mark.parametrize(
    "torch, expected",
    [
        (fake_torch("cpu"), "cpu"),
        (fake_torch("cuda"), Device("cuda", "a cuda card", "8.6", 16.0)),
        (fake_torch("cuda", hip="6.4", properties={"gcnArchName": "gfx90a:sramecc+:xnack-"}), Device("rocm", "a cuda card", "gfx90a", 16.0)),
        (fake_torch("xpu", properties={"has_subgroup_matrix_multiply_accumulate": True}), Device("xpu", "a xpu card", "xmx", 16.0)),
        (fake_torch("xpu", properties={"has_subgroup_matrix_multiply_accumulate": False}), Device("xpu", "a xpu card", "xe", 16.0)),
        (fake_torch("xpu"), Device("xpu", "a xpu card", None, 16.0)),
        (fake_torch("mps"), Device("mps", "Apple M2", "macos14")),
        (fake_torch("mps", macos=(13, 6)), Device("mps", "Apple M2", "macos<14")),
    ],
)  # fmt: skip
def test_every_kind_of_device_is_described_as_torch_tells_of_it(torch, expected):
    found = Accelerator.find(torch).describe()
    assert found == expected or found.kind == expected


# --- the probe ---------------------------------------------------------------------------------------------------------


@pytest.mark.torch
@on_x86_linux
def test_the_probe_measures_what_a_limited_processor_is_slow_at_and_its_answer_is_kept(tmp_path, monkeypatch):
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    found = find_device(tmp_path, measured=True)
    assert found.slower["bf16"] > 4
    (kept,) = (tmp_path / "devices").glob("*.json")
    assert json.loads(kept.read_text())["machine"]["environment"] == {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    monkeypatch.setattr(finding, "PROBE", "kohya_bridge.no_such_module")
    assert find_device(tmp_path, measured=True) == found
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "DEFAULT")
    assert not find_device(tmp_path, measured=True).slower, "another limit is another answer"
    assert len(list((tmp_path / "devices").glob("*.json"))) == 1, "no answer is not kept"


def test_a_damaged_answer_is_asked_for_again(tmp_path, monkeypatch):
    monkeypatch.setattr(finding, "look", lambda *_: None)
    answers = iter([Device("xpu", "Arc", "xmx"), Device("xpu", "Arc, again", "xmx")])
    monkeypatch.setattr(finding, "_ask", lambda *_, **__: next(answers))
    assert find_device(tmp_path).name == "Arc"
    (kept,) = (tmp_path / "devices").glob("*.json")
    kept.write_text(kept.read_text()[:40])
    assert find_device(tmp_path).name == "Arc, again"


def test_where_nothing_answers_it_is_a_cpu_in_fp32(tmp_path):
    found = find_device(tmp_path, interpreter=tmp_path / "bin" / "python")
    assert found.kind == "cpu" and usual(found).name == "no"


@pytest.mark.torch
def test_the_parent_that_asks_stays_without_torch(tmp_path):
    code = (
        "import sys; from pathlib import Path; from kohya_bridge.device.finding import find_device;"
        f"print(find_device(Path({str(tmp_path)!r}), measured=True).slower, 'torch' in sys.modules)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=PACK_ROOT, capture_output=True, text=True, check=True
    )
    assert said.stdout.startswith("{'bf16':") and said.stdout.split()[-1] == "False"


def test_the_probe_runs_in_an_interpreter_with_nothing_but_torch():
    """sd-scripts' interpreter lacks our packages: what the probe loads of this pack is the standard library's."""
    script = f"import sys; sys.path.insert(0, {str(PACK_ROOT)!r}); import kohya_bridge.device.probe"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_other_file_takes_a_cache_folder_by_surprise(tmp_path):
    find_device(Path(tmp_path))
    assert not list(tmp_path.iterdir()) or [each.name for each in tmp_path.iterdir()] == ["devices"]


# --- the doctor --------------------------------------------------------------------------------------------------------


def diagnoses(tmp_path):
    rows = examine_machine(Workspace.at(tmp_path / "training"), [])
    return {each.subject: each for each in rows}


@on_posix
@pytest.mark.parametrize(
    ("device", "names", "verdict", "words"),
    [
        (
            Device("cuda", "NVIDIA GeForce RTX 3060", "8.6", 12.0),
            ["3060"],
            "ok",
            "RTX 3060, 12.0 GiB, driver 570.1",
        ),
        (Device("mps", "Apple M2", "macos14", slower={"bf16": 0.6, "fp16": 0.6}), [], "ok", "Apple M2"),
        (Device("cpu", "AMD EPYC", "avx2"), ["3060"], "optional", "which torch"),
        (Device("cpu", "AMD EPYC", "avx2"), [], "optional", "trains on AMD EPYC"),
    ],
)
def test_the_doctor_names_the_device_and_what_auto_is_on_it(
    tmp_path, monkeypatch, cards, device, names, verdict, words
):
    cards(*names)
    monkeypatch.setattr(doctor, "find_device", lambda _: device)
    found = diagnoses(tmp_path)
    assert found["gpu"].verdict == verdict and words in found["gpu"].found
    assert found["mixed_precision"].found == f"auto is {usual(device).reason}"
