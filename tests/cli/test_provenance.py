"""From the shell: a packaged LoRA is made again and compared; runs, logs and renders are set side by side."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from kohya_bridge.cli import exit_codes
from tests.desk.conftest import BASE


def trained(shell, *more: str) -> str:
    answer = shell("train", shell.config(), "--wait", *more)
    assert answer.code == exit_codes.DONE, answer.err
    return re.search(r"Run \w+/([0-9a-f]{12})", answer.out).group(1)


@pytest.fixture
def packaged(shell):
    run_id = trained(shell)
    answer = shell("package", run_id)
    assert answer.code == exit_codes.DONE, answer.err
    return next((shell.root / "models" / "loras").rglob("*.safetensors"))


def test_a_lora_whose_run_is_here_is_compared_and_not_trained_twice(shell, packaged):
    answer = shell("reproduce", str(packaged))
    assert answer.code == exit_codes.DONE, answer.err
    assert "Identical" in answer.out and "SHA-256" in answer.out
    assert len(list(shell.workspace.root.rglob("plan.yaml"))) == 1


def test_by_name_with_json_and_only_checked(shell, packaged):
    rows = shell("reproduce", f"alice/{packaged.name}", "--check", "--json").rows
    assert rows[0]["plan"]["dataset"]["slug"] == "alice"
    assert shell("reproduce", "alice/none.safetensors").code == exit_codes.NOT_FOUND


def test_again_trains_it_anew_beside_the_run_that_is_here(shell, packaged):
    answer = shell("reproduce", str(packaged), "--again")
    assert answer.code == exit_codes.DONE, answer.err
    assert "Identical" in answer.out
    assert len(list((shell.workspace.root / "reproductions").rglob("plan.yaml"))) == 1


def test_its_card_is_as_good_as_the_file(shell, packaged):
    answer = shell("reproduce", str(packaged.with_name(packaged.stem + ".model-card.md")), "--check")
    assert answer.code == exit_codes.DONE, answer.err


def test_a_tampered_file_a_missing_dataset_and_a_wrong_base_are_each_refused_with_the_reason(
    shell, packaged, tmp_path
):
    with safe_open(packaged, "np") as opened:
        metadata = opened.metadata()
    tensors = load_file(packaged)
    next(each for each in tensors.values() if each.ndim)[0, 0] += 1
    save_file(tensors, tmp_path / "tampered.safetensors", metadata)
    answer = shell("reproduce", str(tmp_path / "tampered.safetensors"))
    assert (answer.code, "was changed since it was packaged" in answer.err) == (exit_codes.REFUSED, True)

    base = shell.root / "models" / "checkpoints" / BASE
    content = base.read_bytes()
    base.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    answer = shell("reproduce", str(packaged))
    assert (answer.code, "is another file" in answer.err) == (exit_codes.INVALID_INPUT, True)
    base.write_bytes(content)

    shutil.rmtree(shell.workspace.dataset_dir("alice"))
    answer = shell("reproduce", str(packaged))
    assert (answer.code, "is not on this machine" in answer.err) == (exit_codes.INVALID_INPUT, True)


def test_an_installation_that_would_train_another_run_says_in_what(shell, packaged):
    shell.engine = type(shell.engine)(name="native")
    object.__setattr__(shell.engine, "version", lambda: "quick-2")
    answer = shell("reproduce", str(packaged))
    assert answer.code == exit_codes.REFUSED
    assert "engine_version: quick-1 there, quick-2 here" in answer.err


def test_everything_for_an_upload_is_made_on_request_and_the_dataset_frozen(shell):
    run_id = trained(shell)
    answer = shell("package", run_id, "--hugging-face", "--civitai", "--published", "--author", "The Atelier")
    assert answer.code == exit_codes.DONE, answer.err
    assert "huggingface" in answer.out and "-civitai.zip" in answer.out
    assert (shell.workspace.dataset_dir("alice") / "dataset.lock.json").is_file()
    assert list((shell.root / "models" / "loras").rglob("*.civitai.info"))


def test_two_runs_are_compared_and_the_log_is_shown(shell):
    old, new = trained(shell), trained(shell, "--set", "seed=7")
    answer = shell("runs", "diff", old[:6], new)
    assert answer.code == exit_codes.DONE
    assert "settings.seed" in answer.out
    assert shell("runs", "diff", old).code == exit_codes.INVALID_INPUT
    assert shell("runs", "--json", "alice").rows and not shell("runs", "bob", "--json").rows
    table = shell("experiments")
    assert old in table.out and new in table.out
    assert [row["run"] for row in shell("experiments", "alice", "--json").rows] == [old, new]
    assert "No attempt" in shell("experiments", "bob").out


def test_tensorboard_files_are_written_again_from_the_events(shell):
    run_id = trained(shell)
    folder = next(shell.workspace.runs_dir.glob(f"*/{run_id}"))
    shutil.rmtree(folder / "tensorboard", ignore_errors=True)
    assert shell("tensorboard", run_id).code == exit_codes.DONE
    assert list((folder / "tensorboard").iterdir())


def test_renders_that_changed_are_named_and_shown(shell, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(tmp_path / name / "a.png")
    sheet = tmp_path / "sheet.png"
    answer = shell("regress", str(tmp_path / "before"), str(tmp_path / "after"), "--sheet", str(sheet))
    assert (answer.code, "a.png: changed" in answer.out, sheet.is_file()) == (exit_codes.NOT_WELL, True, True)
    assert shell("regress", str(tmp_path / "before"), str(tmp_path / "before")).code == exit_codes.DONE
