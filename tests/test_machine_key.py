"""What this machine signed is told from everything else, and its key is made once, whole, and for its owner alone."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as some

from kohya_bridge import machine_key
from kohya_bridge.errors import StorageError
from kohya_bridge.machine_key import is_ours, key_file, sign
from kohya_bridge.workspace import PACK_ROOT


@given(some.text(), some.text(), some.one_of(some.text(), some.none(), some.integers(), some.binary()))
def test_only_the_very_text_that_was_signed_for_this_purpose_is_ours(text, other, guess):
    signature = sign("order", text)
    assert is_ours("order", text, signature)
    assert is_ours("order", other, signature) == (other == text)
    assert not is_ours("repairs", text, signature)
    assert is_ours("order", text, guess) == (guess == signature)


def test_another_machine_signs_otherwise(monkeypatch, tmp_path):
    ours = sign("order", "train alice")
    monkeypatch.setenv(machine_key.FOLDER_VARIABLE, str(tmp_path))
    assert sign("order", "train alice") != ours and not is_ours("order", "train alice", ours)


def test_the_key_is_one_file_that_only_its_owner_reads(monkeypatch, tmp_path):
    monkeypatch.setenv(machine_key.FOLDER_VARIABLE, str(tmp_path / "new"))
    sign("order", "")
    assert [each.name for each in (tmp_path / "new").iterdir()] == [machine_key.KEY_NAME]
    assert os.name == "nt" or stat.S_IMODE(key_file().stat().st_mode) == 0o600


def test_processes_that_need_the_first_key_at_the_same_time_agree_on_one(tmp_path):
    script = "from kohya_bridge.machine_key import sign; print(sign('order', 'x'))"
    environment = {**os.environ, machine_key.FOLDER_VARIABLE: str(tmp_path)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script], cwd=PACK_ROOT, env=environment, stdout=subprocess.PIPE
        )
        for _ in range(6)
    ]
    assert len({each.communicate()[0] for each in started}) == 1


def test_a_key_that_was_cut_is_replaced(monkeypatch, tmp_path):
    monkeypatch.setenv(machine_key.FOLDER_VARIABLE, str(tmp_path))
    (tmp_path / machine_key.KEY_NAME).write_bytes(b"short")
    assert is_ours("order", "x", sign("order", "x"))
    assert key_file().stat().st_size == machine_key.KEY_BYTES


def test_a_data_folder_that_cannot_be_written_is_told_with_what_to_do(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(machine_key.FOLDER_VARIABLE, str(tmp_path / "file" / "below"))
    with pytest.raises(StorageError, match=machine_key.FOLDER_VARIABLE):
        sign("order", "x")


def test_the_key_lies_outside_every_workspace(monkeypatch, tmp_path):
    monkeypatch.delenv(machine_key.FOLDER_VARIABLE)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    if sys.platform == "linux":
        assert key_file() == tmp_path / machine_key.FOLDER_NAME / machine_key.KEY_NAME
    assert not key_file().is_relative_to(PACK_ROOT)


@pytest.fixture
def home_that_cannot_be_written(monkeypatch, tmp_path):
    """A person's data folder below a file: nobody can make it, not even root. The folder that stands in is returned."""
    monkeypatch.delenv(machine_key.FOLDER_VARIABLE)
    (tmp_path / "home").write_text("")
    for variable in ("XDG_DATA_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "home" / "below"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    return tmp_path / "run" / machine_key.FOLDER_NAME


def test_where_the_home_is_read_only_the_key_lasts_until_the_next_restart(home_that_cannot_be_written):
    assert is_ours("order", "x", sign("order", "x"))
    assert key_file().parent == home_that_cannot_be_written


def test_a_folder_that_others_can_write_does_not_stand_in(home_that_cannot_be_written, monkeypatch, tmp_path):
    monkeypatch.setattr(machine_key.tempfile, "gettempdir", lambda: str(tmp_path / "shared"))
    home_that_cannot_be_written.mkdir(parents=True)
    home_that_cannot_be_written.chmod(0o777)
    assert key_file().parent.parent == tmp_path / "shared"
    elsewhere = key_file().parent
    elsewhere.rmdir()
    elsewhere.symlink_to(home_that_cannot_be_written)
    with pytest.raises(StorageError, match=machine_key.FOLDER_VARIABLE):
        sign("order", "x")
