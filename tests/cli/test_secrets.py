"""A secret is typed wherever a person can type one; then a run is trained, stopped, resumed and packaged, and every file is looked through."""

import io
import json
import os
import stat
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from kohya_bridge import kept_secrets, machine_key
from kohya_bridge.errors import UnusableFile
from kohya_bridge.redaction import LEFT_OUT
from kohya_bridge.run_folder import RunFolder
from kohya_bridge.runs import asks, held_prompt, unattended
from kohya_bridge.runs.held_prompt import HeldPrompt
from kohya_bridge.runs.unattended import Unattended
from tests.cli.test_shell import run_id_of
from tests.desk.conftest import environment_of
from tests.doubles.quick_engine import QuickEngine
from tests.rehearsed_runs import rehearse
from tests.waiting import wait_until

SECRET = "Zq7-s3cr3t-0f-a-p3rs0n"


def contents(*folders):
    """Every file's bytes by its name, what is packed in it included."""
    for folder in folders:
        for file in sorted(each for each in folder.rglob("*") if each.is_file()):
            data = file.read_bytes()
            yield str(file), data
            if file.suffix == ".zip":
                with zipfile.ZipFile(file) as archive:
                    yield from ((f"{file}:{name}", archive.read(name)) for name in archive.namelist())
            if file.suffix == ".png":
                with Image.open(io.BytesIO(data)) as picture:
                    yield f"{file}:texts", json.dumps(dict(picture.info), default=str).encode()


def holders(secret, *folders):
    return [name for name, data in contents(*folders) if secret.encode() in data]


def test_no_secret_that_was_typed_is_in_any_file_or_answer(shell, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    monkeypatch.setenv("OLLAMA_HOST", f"http://me:{SECRET}@127.0.0.1:1")
    foreign = tmp_path / "theirs"
    foreign.mkdir()
    (foreign / "preset.json").write_text(
        json.dumps(
            {
                "my_hub_token_2": SECRET,
                "apiKey": SECRET,
                "network_dim": 4,
                "optimizer_args": f"token={SECRET}",
            }
        )
    )
    pictures = foreign / "pictures"
    pictures.mkdir()
    Image.new("RGB", (512, 512), "teal").save(pictures / "a.png")
    # What a person may type, and where.
    typed = (
        ["plan", shell.config(), "--set", f"kohya.wandb_api_key={SECRET}"],
        ["train", shell.config(), "--set", f"kohya.some_token={SECRET}"],
        ["plan", shell.config(), "--set", f"settings.hf_secret={SECRET}"],
        ["plan", shell.config(), "--set", f"kohya.network_args=['Authorization=Bearer {SECRET}']"],
        ["plan", shell.config(), "--set", f"kohya.optimizer_args=['api_key={SECRET}']"],
        ["plan", shell.config(), "--set", f"base_model=https://me:{SECRET}@host/x.safetensors"],
        ["plan", f"https://{SECRET}@host/config.yaml"],
        ["adopt", str(foreign / "preset.json"), "--dataset", "alice", "--base-model", "x", "--name", "theirs"],
        ["import", "bob", str(pictures), "--source", f"https://me:{SECRET}@host/pictures?token={SECRET}", "--licence", "CC0-1.0"],
        ["autocaption", "alice", "--ollama", "llava"],
        ["autocaption", "alice", "--ollama", "llava", "--host", f"http://me:{SECRET}@127.0.0.1:1/[x"],
        ["runs", "--token", SECRET],
    )  # fmt: skip
    told = [shell(*words) for words in typed]
    (shell.workspace.dataset_dir("alice") / "metadata.yaml").write_text(
        f"slug: alice\nlora_tag: char_alice\nlicence: CC0-1.0\nrelease_approved: true\ncharacter: 'hf_{'a' * 8}{SECRET}'\n"
        f"source: https://me:{SECRET}@host/pictures\ncredit: '{{\"api_key\": \"{SECRET}\"}}'\nnotes: 'password: {SECRET}'\n"
    )
    shell.engine = QuickEngine(seconds_per_step=0.1)
    answer = shell("train", shell.config())
    run = RunFolder(shell.workspace.find_run(run_id_of(answer)))
    keep_prompts(run)
    wait_until(lambda: run.state().step >= 2)
    shell("stop", run.run_id)
    shell.engine = QuickEngine()
    told += [shell("resume", run.run_id, "--wait"), shell("log", run.run_id), shell("runs", "--json")]
    packaged = shell("package", run.run_id, "--hugging-face", "--civitai")
    assert packaged.code == 0, packaged.err
    (shell.workspace.dataset_dir("alice") / "metadata.yaml").unlink()  # what a person wrote there is theirs

    assert holders(SECRET, shell.workspace.root, tmp_path / "models") == []
    said = [each.out + each.err for each in (*told, packaged)]
    assert not [each for each in said if SECRET in each]
    assert sum("secret" in each for each in said) >= 4, "and the person was told"
    assert (shell.workspace.dataset_dir("bob") / "metadata.yaml").read_text().count(LEFT_OUT) == 2
    assert [each for each in asks.asks_of(run) if SECRET in each.text] == []


def keep_prompts(run):
    """Two parts of a canvas in which another pack's node has a key, as Kohya Train keeps them."""
    prompt = {"7": {"class_type": "SomeCloud", "inputs": {"api_key": SECRET, "seed": 3}}}
    workflow = {"workflow": {"nodes": [{"id": 7, "widgets_values": [SECRET, 3]}]}}
    held_prompt.keep(run, HeldPrompt(prompt, extra_pnginfo=workflow))
    unattended.keep(run, Unattended(prompt, ("7",), extra_pnginfo=workflow))


def test_a_held_prompt_is_sent_with_its_secret_and_only_from_here(workspace_run):
    run = workspace_run
    keep_prompts(run)
    wanted = unattended.read(run)
    assert wanted.prompt["7"]["inputs"] == {"api_key": SECRET, "seed": 3}
    unattended.keep(run, wanted)
    assert unattended.read(run) == wanted, "the same again changes nothing"
    (held,) = held_prompt.claim(run)
    assert held.prompt["7"]["inputs"]["api_key"] == SECRET
    assert held.extra_pnginfo["workflow"]["nodes"][0]["widgets_values"] == [SECRET, 3]
    assert holders(SECRET, run.dir) == []
    (file,) = (machine_key.key_file().parent / kept_secrets.FOLDER).iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 or os.name == "nt"
    file.unlink()
    with pytest.raises(UnusableFile, match="gone from this machine"):
        unattended.read(run)


def test_a_mark_that_came_along_with_a_folder_brings_nobodys_secret(workspace_run):
    """Who knows the name of a secret's file does not get its content: a record that this machine did not keep stays as it is."""
    run = workspace_run
    keep_prompts(run)
    record = json.loads(run.unattended_file.read_text())
    record["signature"] = "0" * 64
    run.unattended_file.write_text(json.dumps(record))
    wanted, ours = unattended.read_any(run)
    assert not ours and "(kept secret " in wanted.prompt["7"]["inputs"]["api_key"]


@pytest.fixture
def workspace_run(tmp_path, monkeypatch):
    from kohya_bridge.workspace import Workspace

    monkeypatch.setenv(machine_key.FOLDER_VARIABLE, str(tmp_path / "key"))
    story = rehearse(Workspace.at(tmp_path / "training")).start().train(1, 3).finish("completed")
    return story.run


values = st.recursive(
    st.text(max_size=9) | st.integers(0, 99) | st.none() | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["api_key", "token", "seed", "text"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(value=values, secret=st.text(min_size=8, max_size=20).map("S-".__add__))
def test_whatever_is_put_away_comes_back(value, secret, tmp_path_factory, monkeypatch):
    monkeypatch.setenv(machine_key.FOLDER_VARIABLE, str(tmp_path_factory.getbasetemp() / "key"))
    whole = {"password": secret, "rest": value, "said": [f"x {secret} y"]}
    away = kept_secrets.put_away(whole)
    assert secret not in json.dumps(away, ensure_ascii=False)
    assert kept_secrets.put_back(away) == whole


@pytest.mark.skipif(os.name == "nt", reason="needs to look into another process")
def test_the_trainer_finds_it_in_its_environment_at_the_start_and_after_a_resume(shell, monkeypatch):
    """How a resume gets a secret: as the start did, from the environment of whoever asks for it; no file keeps it meanwhile."""
    shell.engine = QuickEngine(seconds_per_step=0.2)
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    run = RunFolder(shell.workspace.find_run(run_id_of(shell("train", shell.config()))))
    assert environment_of(run)["WANDB_API_KEY"] == SECRET
    shell("stop", run.run_id, "--at-once")
    shell("watch", run.run_id)
    monkeypatch.setenv("WANDB_API_KEY", f"{SECRET}-new")
    shell("resume", run.run_id)
    assert environment_of(run)["WANDB_API_KEY"] == f"{SECRET}-new"
    shell("stop", run.run_id, "--at-once")
    shell("watch", run.run_id)
    assert holders(SECRET, shell.workspace.root) == []
