"""What the system refuses reaches a person in words, at every edge, with the file at fault and a way out."""

import errno
import os
import socket

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from kohya_bridge.__main__ import main
from kohya_bridge.captions import locked
from kohya_bridge.cli import exit_codes
from kohya_bridge.errors import BridgeError, StorageError, Unavailable, UnusableFile
from kohya_bridge.files.refusals import raise_told
from kohya_bridge.reasons import reason_of
from kohya_bridge.system_errors import in_words

CODES = sorted(errno.errorcode)
NETWORK = (ConnectionError, TimeoutError)
names = st.one_of(st.text(min_size=1), st.binary(min_size=1), st.none())


@given(code=st.sampled_from(CODES), name=names)
def test_every_refusal_of_the_system_is_a_problem_with_a_way_out(code, name):
    error = OSError(code, os.strerror(code), name)
    told = in_words(error)
    assert isinstance(told, Unavailable if isinstance(error, NETWORK) else StorageError)
    assert reason_of(error) in told.problem and told.problem.endswith(".") and told.fix.endswith(".")
    if isinstance(name, str) and not isinstance(error, NETWORK):
        assert name[-200:] in told.problem


@pytest.mark.parametrize(
    "error", [OSError(), OSError("odd"), OSError(5), socket.gaierror(-2, "Name unknown")]
)
def test_one_that_says_little_is_told_all_the_same(error):
    told = in_words(error)
    assert told.problem.endswith(".") and told.fix


def test_words_that_are_there_already_are_kept():
    told = UnusableFile("x.json is a link where a file belongs.", "Take it away.")
    assert in_words(told) is told


def test_a_reason_is_one_sentence_also_where_it_is_told_within_another(tmp_path):
    with pytest.raises(UnusableFile) as caught:
        raise_told(tmp_path / "x.json", OSError(errno.EROFS, "Read-only file system"), "could not be written")
    within = f"The set can't be written: {reason_of(caught.value)}."
    assert within == "The set can't be written: x.json could not be written: the disk is read-only."
    assert "mount it writable" in caught.value.fix and caught.value.errno == errno.EROFS


@pytest.fixture
def read_only(monkeypatch):
    """Locks can't be made, as on a disk that is mounted read-only."""

    def refuse(self, *given, **named):
        raise OSError(errno.EROFS, "Read-only file system", self.lock_file)

    monkeypatch.setattr(FileLock, "acquire", refuse)


def test_a_lock_that_cannot_be_made_is_a_fault_of_the_disk(tmp_path, read_only):
    with (
        pytest.raises(StorageError, match=r"captions\.jsonl can't be locked") as caught,
        locked(tmp_path / "captions.jsonl"),
    ):
        pass
    assert "mount it writable" in caught.value.fix


@pytest.mark.parametrize(
    "refused",
    [
        OSError(errno.EACCES, "Permission denied", "/data/x"),
        OSError(errno.ENAMETOOLONG, "File name too long", "y" * 300),
    ],
)
def test_the_shell_calls_it_a_fault_of_the_disk_and_not_of_its_own(tmp_path, monkeypatch, capsys, refused):
    def ends(*_):
        raise refused

    monkeypatch.setattr("kohya_bridge.cli.datasets.list_all", ends)
    assert main(["datasets", "--workspace", str(tmp_path)]) == exit_codes.STORAGE
    assert "Fix: " in capsys.readouterr().err


def test_a_fault_of_the_program_is_still_called_one(tmp_path, monkeypatch):
    def ends(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("kohya_bridge.cli.datasets.list_all", ends)
    assert main(["datasets", "--workspace", str(tmp_path)]) == exit_codes.UNEXPECTED
    assert not issubclass(ZeroDivisionError, BridgeError)
