"""What is written has the permissions that the person's umask leaves: a group that shares a workspace can work in it, and nobody sees
more than the person shares. Secrets alone are their owner's."""

import os
import stat

import pytest
from PIL import Image

from kohya_bridge import machine_key
from kohya_bridge.cli import exit_codes
from kohya_bridge.run_folder import RunFolder
from kohya_bridge.runs import held_prompt
from kohya_bridge.runs.held_prompt import HeldPrompt
from tests.cli.test_shell import run_id_of

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")


@pytest.fixture
def own_key(tmp_path, monkeypatch):
    monkeypatch.setenv(machine_key.FOLDER_VARIABLE, str(tmp_path / "own" / "key"))


@pytest.fixture(params=[0o002, 0o022, 0o077], ids=lambda umask: f"umask {umask:03o}")
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_files_keep_the_umask_and_secrets_their_owner(umask, own_key, shell, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(2):
        Image.effect_noise((512, 512), 40 + number).convert("RGBA").save(
            pictures / f"{number}.png"
        )  # lint mends it
    before = everything(shell.workspace.root, tmp_path / "models")
    config = shell.config()
    steps = [
        ["import", "bob", str(pictures), "--trigger", "bob", "--licence", "CC0-1.0"],
        ["lint", "bob", "--fix"],
        ["mark", "alice", "--name", "first"],
        ["train", config, "--wait"],
        ["plan", config, "--set", "nonsense=1"],
    ]
    answers = [shell(*words) for words in steps]
    assert exit_codes.USAGE not in [each.code for each in answers]
    run = RunFolder(shell.workspace.find_run(run_id_of(answers[3])))
    held_prompt.keep(run, HeldPrompt({"1": {"class_type": "X", "inputs": {"token": "t0k3n"}}}))
    for words in (
        ["package", run.run_id, "--hugging-face", "--civitai"],
        ["runs"],
        ["triggers"],
        ["caption", "alice"],
    ):
        shell(*words)
    shell("delete", run.run_id)
    made = everything(shell.workspace.root, tmp_path / "models") - before - {config}
    names = {each.name for each in made}
    assert (
        len(made) > 60
        and {".slot.lock", "events.jsonl", "train.log", "shell.log", "best.json", "README.md"} <= names
    )
    odd = {str(each): oct(mode_of(each)) for each in made if mode_of(each) != expected(each, umask)}
    assert odd == {}
    for each in everything(tmp_path / "own"):
        assert mode_of(each) == (0o700 if each.is_dir() else 0o600)


def everything(*folders):
    """Files and folders that are no links."""
    return {each for folder in folders for each in folder.rglob("*") if not each.is_symlink()}


def mode_of(file):
    return stat.S_IMODE(file.stat().st_mode)


def expected(file, umask):
    return (0o777 if file.is_dir() else 0o666) & ~umask
