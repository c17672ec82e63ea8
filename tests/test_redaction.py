"""What a person typed as a secret stays out of logs, messages and reports; words that only look like one are left alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kohya_bridge.__main__ import main
from kohya_bridge.errors import FieldProblem
from kohya_bridge.redaction import is_secret, without_secrets
from kohya_bridge.settings import TrainingSettings

SECRET = "s3cr3t-0f-a-p3rs0n"
NAMES = (
    "wandb_api_key",
    "kohya.wandb_api_key",
    "huggingface_token",
    "--hub-token",
    "PASSWORD",
    "civitai.apikey",
    "s3_access_key",
)
words = st.text(alphabet=st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=9)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_a_secret_is_known(name):
    assert is_secret(name)


def test_settings_of_a_training_are_none():
    names = [
        *TrainingSettings.model_fields,
        "keep_tokens",
        "max_token_length",
        "token_warmup_min",
        "tokenizer_cache_dir",
        "key",
    ]
    assert [name for name in names if is_secret(name)] == []


@given(st.sampled_from(NAMES), words, st.lists(words), st.booleans())
def test_no_secret_that_was_typed_is_in_what_is_kept(name, secret, others, equals):
    secret = f"{SECRET}{secret}"
    typed = [*others, *([f"{name}={secret}"] if equals else [name, secret]), *others]
    assert SECRET not in without_secrets(
        f"{' '.join(typed)}\nValueError: {secret!r} is no number", typed=typed
    )


@given(words, words)
def test_passwords_in_addresses_go_and_the_rest_stays(user, password):
    told = without_secrets(
        f"No Ollama at http://{user}:{SECRET}{password}@host:11434/x, nor at http://other:80/y@z"
    )
    assert SECRET not in told and "host:11434/x" in told and "http://other:80/y@z" in told


def test_the_log_of_the_shell_has_none(tmp_path, capsys):
    config = tmp_path / "x.yaml"
    config.write_text(f"dataset: alice\nbase_model: x.safetensors\nkohya: {{wandb_api_key: {SECRET}}}\n")
    for words in (
        ["plan", str(config), "--set", f"kohya.wandb_api_key={SECRET}"],
        ["plan", str(config), "--set", f"settings.huggingface_token={SECRET}"],
        ["autocaption", "alice", "--ollama", "x", "--host", f"http://me:{SECRET}@127.0.0.1:1"],
    ):
        main([*words, "--workspace", str(tmp_path / "training")])
    said = capsys.readouterr()
    log = (tmp_path / "training" / "logs" / "shell.log").read_text()
    assert "plan" in log and SECRET not in log
    assert SECRET not in said.out + said.err


def test_a_wrong_value_of_a_secret_is_not_quoted():
    told = str(FieldProblem("kohya.wandb_api_key", SECRET, "is a secret.", "Set it in the environment."))
    assert SECRET not in told and "kohya.wandb_api_key = (left out)" in told
