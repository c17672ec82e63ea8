"""What the system and the libraries refuse is told in words that need no manual of theirs, with the line and the way out."""

import errno
import importlib
import json
import os
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, UnidentifiedImageError

from kohya_bridge.errors import InvalidInput, NotFound
from kohya_bridge.forbidding import parse_yaml
from kohya_bridge.reasons import in_json, in_toml, reason_of

TOML = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
FOREIGN = re.compile(r"errno|expected|invalid|expecting|constructor|block mapping|delimiter|escape sequence|\bchar \d|statement|token", re.IGNORECASE)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "reason", "fix"),
    [
        ('a: "C:\\Users\\me"', 1, "has a meaning of its own", "single quotes: 'C:\\Users\\me'"),
        ("a: 1\nb: c: d", 2, "second `: `", "quotes"),
        ("a: 1\n\tb: 2", 2, "tab", "Indent with spaces"),
        ("a: [1, 2", 1, "bracket is not closed", "Close every bracket"),
        ('a: "open', 1, "quoted text is not closed", "Close it"),
        ("a: 1\nb", 2, "no `: `", "`name: value`"),
        ("a: @x", 1, "meaning of its own", "quotes"),
        ("a: !!python/name:os.system x", 1, "has a tag", "quotes"),
        ("a: 1\n---\nb: 2", 2, "second document", "Keep one"),
        ('a: "x" y', 1, "behind a closing quote", "quotes"),
        ("a: \0", 0, "control character", "plain text"),
    ],
)
def test_what_is_wrong_with_yaml_is_said_with_its_line_and_the_way_out(text, line, reason, fix):
    with pytest.raises(InvalidInput) as refused:
        parse_yaml(text, what="x.yaml")
    assert reason in refused.value.problem and fix in refused.value.fix
    assert f" in line {line}:" in refused.value.problem if line else " line " not in refused.value.problem


@pytest.mark.parametrize(
    ("text", "line", "reason", "fix"),
    [
        ('a = "C:\\Users\\me"', 1, "has a meaning of its own", "single quotes: 'C:\\Users\\me'"),
        ("a = C:\\x", 1, "without quotes", "single quotes"),
        ("a = 1\nunet_lr = 0,0001", 2, "a number has a comma", "Write 0.0001"),
        ("a = True", 1, "is not a value", "small letters"),
        ('a = "x', 1, "not closed", "Close it"),
        ("a = 'x", 1, "not closed", "Close it"),
        ("a = 1\na = 2", 2, "given twice", "Keep one"),
        ("a = [1,\n2", 2, "not closed", "Close it"),
        ("a = {x = 1", 1, "not closed", "Close it"),
        ("[a", 1, "not closed", "Close it"),
        ("a: 1", 1, "`name = value`", "`name = value`"),
    ],
)
def test_what_is_wrong_with_toml_is_said_with_its_line_and_the_way_out(text, line, reason, fix):
    with pytest.raises(ValueError) as refused:
        TOML.loads(text)
    said = in_toml(refused.value, text)
    assert said.line == line and reason in said.reason and fix in said.fix


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ('{"a": 1,}', 1, "comma behind the last entry|value is missing"),
        ("{'a': 1}", 1, "double quotes"),
        ('{"a": 1\n "b": 2}', 2, "comma"),
        ('{"a" 1}', 1, "colon"),
        ('{"a": tru}', 1, "value is missing"),
        ('{"a": "C:\\Users"}', 1, "meaning of its own"),
        ("{} x", 1, "behind its end"),
        ('"x', 1, "not closed"),
        ("", 0, "empty"),
    ],
)
def test_what_is_wrong_with_json_is_said_with_its_line(text, line, reason):
    with pytest.raises(ValueError) as refused:
        json.loads(text)
    said = in_json(refused.value)
    assert said.line == line and re.search(reason, said.reason) and said.fix


@given(text=st.text(alphabet="ab:[]{}\"'\\=,#-!&@%|> \t\n01.~?", max_size=40))
def test_no_sentence_of_a_parser_reaches_a_person(text):
    for parse, in_words in ((json.loads, lambda error: in_json(error)), (TOML.loads, lambda error: in_toml(error, text))):  # fmt: skip
        try:
            parse(text)
        except ValueError as error:
            said = in_words(error)
            assert not FOREIGN.search(said.reason) and said.fix and 0 <= said.line <= text.count("\n") + 1
    try:
        parse_yaml(text, what="x")
    except InvalidInput as error:
        assert not FOREIGN.search(error.problem) and error.fix


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "/a/b"), "access is denied"),
        (OSError(errno.EROFS, "Read-only file system"), "the disk is read-only"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/a"), "it is not there"),
        (OSError(errno.ENOTBLK, "Block device required"), "block device required"),
        (UnidentifiedImageError("cannot identify image file <_io.BytesIO object at 0x7f>"), "it can't be decoded as a picture"),
        (OSError("image file is truncated (3 bytes not processed)"), "the file is cut off"),
        (Image.DecompressionBombError("Image size exceeds limit"), "it would unpack to too many pixels"),
        (KeyError("lora_down"), "lora_down is missing"),
        (ModuleNotFoundError("No module named 'onnx.x'", name="onnx.x"), "the package onnx is not installed"),
        (NotFound("There is no run 12.", "Look."), "There is no run 12"),
        (MemoryError(), "memory ran out"),
        (RuntimeError("odd.\nwith a second line"), "odd"),
        (RuntimeError(), "RuntimeError"),
    ],
)  # fmt: skip
def test_why_something_was_refused_is_one_clause(error, words):
    assert reason_of(error) == words


def test_a_library_s_damaged_file_is_told_in_words(tmp_path):
    from safetensors import SafetensorError, safe_open

    file = tmp_path / "x.safetensors"
    for content, words in ((b"\x08\0\0\0\0\0\0\0not json", "its header is damaged"), (b"\x02\0\0\0\0\0\0\0{}x", "the file is cut off")):  # fmt: skip
        file.write_bytes(content)
        with pytest.raises(SafetensorError) as refused:
            safe_open(file, framework="np")
        assert reason_of(refused.value) == words
