"""Finding sd-scripts, its pin, its hook points, and what the doctor and the review say of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from kohya_bridge.device.description import Device
from kohya_bridge.engines.kohya import review as reviewing
from kohya_bridge.engines.kohya.checkout import commit_of, find_checkout, find_interpreter, pinned_commit
from kohya_bridge.engines.kohya.doctor import _torch_findings, examine
from kohya_bridge.engines.kohya.surface import TRAIN_UTIL, TRAINER, checkout_sources, moved
from kohya_bridge.errors import Unavailable
from kohya_bridge.workspace import PACK_ROOT


def git(folder, *arguments):
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(
        ["git", "-C", str(folder), *who, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_submodule_and_the_version_file_name_the_same_commit():
    if not (PACK_ROOT / ".git").exists():
        pytest.skip("this copy of the pack is no git checkout, so there is no submodule entry to compare")
    entry = git(PACK_ROOT, "ls-files", "-s", "third_party/kohya_ss")
    assert entry.split()[:2] == ["160000", pinned_commit()]
    modules = (PACK_ROOT / ".gitmodules").read_text("utf-8")
    assert (
        "path = third_party/kohya_ss" in modules and "url = https://github.com/kohya-ss/sd-scripts" in modules
    )


def test_a_checkout_is_found_by_its_variable_and_inside_a_kohya_ss_folder(double, monkeypatch, tmp_path):
    assert find_checkout().dir == double.resolve()
    nested = tmp_path / "kohya_ss" / "sd-scripts"
    shutil.copytree(double, nested)
    monkeypatch.setenv("KOHYA_SD_SCRIPTS", str(tmp_path / "kohya_ss"))
    assert find_checkout().dir == nested.resolve()


def test_the_commit_is_gits_in_a_repository_and_a_digest_of_the_source_elsewhere(double, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(double, copy)
    assert re.fullmatch(r"tree-[0-9a-f]{12}", commit_of(copy))
    git(tmp_path, "init", "-q", str(copy))
    git(copy, "add", "-A")
    git(copy, "commit", "-qm", "x")
    assert commit_of(copy) == git(copy, "rev-parse", "HEAD")


def test_a_missing_interpreter_is_told_with_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("KOHYA_PYTHON", str(tmp_path / "none"))
    with pytest.raises(Unavailable, match="make kohya"):
        find_interpreter()


def test_the_double_has_every_hook_point_in_its_place(double):
    assert moved(checkout_sources(double)) == []


def test_a_hook_point_that_moved_is_named_with_what_it_is_for(double):
    sources = checkout_sources(double)
    was = "self, accelerator, args, epoch, global_step"
    assert was in sources[TRAINER]
    sources[TRAINER] = sources[TRAINER].replace(was, "self, args, epoch, global_step")
    sources[TRAIN_UTIL] = sources[TRAIN_UTIL].replace("def init_trackers", "def start_trackers")
    found = "\n".join(moved(sources))
    assert "NetworkTrainer.sample_images takes (self, args, epoch" in found
    assert "init_trackers is gone" in found


def test_a_line_of_the_loop_that_is_gone_is_named(double):
    sources = checkout_sources(double)
    sources[TRAINER] = sources[TRAINER].replace("if global_step >= args.max_train_steps:", "if done:")
    assert any("global_step >= args.max_train_steps" in each for each in moved(sources))


@pytest.fixture
def upstream(double, tmp_path, monkeypatch):
    """A repository with the double as the pinned commit, to commit further changes to."""
    folder = tmp_path / "upstream"
    shutil.copytree(double, folder, ignore=shutil.ignore_patterns("__pycache__"))
    git(tmp_path, "init", "-q", "-b", "main", str(folder))
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "the pin")
    pin = git(folder, "rev-parse", "HEAD")
    monkeypatch.setattr(reviewing, "pinned_commit", lambda: pin)
    return folder


def change(folder, file, old, new, message):
    text = (folder / file).read_text("utf-8")
    assert old in text
    (folder / file).write_text(text.replace(old, new), "utf-8")
    git(folder, "commit", "-qam", message)


def test_the_review_lists_commits_and_tells_a_changed_hook_point_from_a_moved_one(upstream, capsys):
    assert reviewing.main(["--repository", str(upstream), "--upstream", "main"]) == 0
    assert "Nothing new." in capsys.readouterr().out
    change(upstream, TRAIN_UTIL, 'print("accelerator device:"', 'print("device:"', "other words")
    assert reviewing.main(["--repository", str(upstream), "--upstream", "main"]) == 0
    said = capsys.readouterr().out
    assert "1 commit since the pin" in said and "other words" in said
    assert "library/train_util.py: prepare_accelerator" in said
    change(upstream, TRAINER, "def post_process_network(", "def after_network(", "rename")
    assert reviewing.main(["--repository", str(upstream), "--upstream", "main"]) == 1
    assert "post_process_network is gone" in capsys.readouterr().out


def test_a_review_without_the_commit_says_how_to_get_it(tmp_path, capsys):
    git(tmp_path, "init", "-q")
    assert reviewing.main(["--repository", str(tmp_path)]) == 2
    assert "--fetch" in capsys.readouterr().err


@pytest.mark.torch
def test_the_doctor_looks_at_checkout_hooks_interpreter_packages_and_gpu(double, bench):
    found = {each.what: each for each in examine(tokenizer_dir=bench.tokenizer_dir, workspace_dir=bench.root)}
    assert found["sd-scripts"].state == "ok"
    assert found["sd-scripts commit"].state == "warning" and pinned_commit() in found["sd-scripts commit"].fix
    assert found["hook points"].state == "ok"
    assert found["import of sd-scripts"].state == "ok"
    assert found["interpreter"].found.startswith(sys.executable)
    assert {"torch", "GPU", "CLIP tokenizer", "disk"} <= set(found)
    assert found["mixed_precision"].found.startswith("auto is ")


def test_the_doctor_compares_packages_with_the_checkouts_pins(double, bench, monkeypatch, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(double, copy)
    (copy / "requirements.txt").write_text(
        "safetensors==0.0.1\nno-such-package==1.0\nbitsandbytes==1.0\n# x==2\n"
    )
    monkeypatch.setenv("KOHYA_SD_SCRIPTS", str(copy))
    found = {each.what: each for each in examine()}
    assert found["safetensors"].state == "warning" and "0.0.1" in found["safetensors"].found
    assert found["no-such-package"].state == "missing"
    assert found["bitsandbytes"].state in ("ok", "info")


def test_the_doctor_says_what_to_run_where_nothing_is_set_up(monkeypatch, tmp_path):
    monkeypatch.setenv("KOHYA_SD_SCRIPTS", str(tmp_path))
    monkeypatch.setenv("KOHYA_PYTHON", str(tmp_path / "python"))
    found = {each.what: each for each in examine()}
    assert found["sd-scripts"].state == found["interpreter"].state == "missing"
    assert found["interpreter"].fix == "make kohya"


def test_the_doctor_says_which_torch_a_card_needs(monkeypatch, double):
    card = Device("cuda", "RTX 5090", "12.0", 32.0)
    told = {
        "version": "2.5",
        "arch_list": ["sm_80", "sm_90"],
        "devices": [card.to_json()],
        "chosen": card.to_json(),
    }
    found = {each.what: each for each in _torch_findings(told)}
    assert found["GPU"].state == "missing" and "code for sm_80, sm_90 only" in found["GPU"].found
    found = {each.what: each for each in _torch_findings({**told, "arch_list": ["sm_120"]})}
    assert found["GPU"].state == "ok" and found["GPU"].found == "RTX 5090, 32.0 GiB, 12.0"
    assert found["mixed_precision"].found == "auto is bf16: compute capability 12.0 has bf16 arithmetic"
