"""JSON that leaves is JSON, whatever is in it, and leaves by one door."""

from __future__ import annotations

import json
import re
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as some

from kohya_bridge import json_text
from kohya_bridge.workspace import PACK_ROOT

ANY = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(alphabet=some.characters(codec=None)),
    lambda deeper: some.lists(deeper, max_size=4) | some.dictionaries(some.text(alphabet=some.characters(codec=None)), deeper, max_size=4),
    max_leaves=12,
)  # fmt: skip

AROUND = {
    "kohya_bridge/json_text.py": "the door itself",
    "kohya_bridge/plan.py": "the digest that names a run: it stays what it was, letter by letter",
    "kohya_bridge/supervisor.py": "a pipe to our own keeper: paths in it may hold bytes that are no text",
    "kohya_bridge/event_shape.py": "asks whether it is JSON",
    "kohya_bridge/engines/kohya/describe_parser.py": "runs in sd-scripts' interpreter, as a script",
    "kohya_bridge/engines/kohya/probe.py": "runs in sd-scripts' interpreter, as a script",
    "kohya_bridge/engines/kohya/packages.py": "a line of code for another interpreter",
}


def strictly(text: str):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    text.encode("utf-8")
    return json.loads(text, parse_constant=refuse)


@given(ANY, some.booleans())
def test_whatever_leaves_is_json_and_text(value, ascii_only):
    told = strictly(json_text.write(value, ensure_ascii=ascii_only))
    assert not re.search("[\ud800-\udfff]", json.dumps(told, ensure_ascii=False))
    assert json_text.read(json_text.write(value)) == told


@given(
    some.lists(ANY) | some.dictionaries(some.text(), some.lists(ANY, max_size=9) | ANY), some.integers(1, 4)
)
def test_what_is_written_in_parts_is_what_is_written_at_once(value, rows):
    with patch.object(json_text, "ROWS_AT_ONCE", rows):
        assert strictly(json_text.write_in_parts(value)) == strictly(
            json_text.write(value, ensure_ascii=False)
        )


def test_a_long_series_is_not_written_in_one_go(monkeypatch):
    rows = []
    monkeypatch.setattr(json_text, "breathe", lambda: rows.append(1))
    json_text.write_in_parts({"state": {"losses": [[step, 0.1] for step in range(1000)]}})
    assert len(rows) >= 1000 / json_text.ROWS_AT_ONCE


@given(ANY)
def test_what_json_has_leaves_as_it_was(value):
    try:
        same = json.dumps(value, allow_nan=False, ensure_ascii=False)
        same.encode("utf-8")
    except ValueError:
        return
    assert json_text.write(value, ensure_ascii=False) == same


def test_numbers_that_json_does_not_have_leave_as_words_and_come_as_text():
    assert json_text.write({"a": [float("nan"), float("-inf")]}) == '{"a": ["nan", "-inf"]}'
    digits = "9" * 5000
    assert json_text.read(f"[NaN, -Infinity, 1e999, 1e-999, {digits}, 7]") == [
        "NaN",
        "-Infinity",
        "1e999",
        0.0,
        digits,
        7,
    ]


@pytest.mark.parametrize("text", ("[" * 100_000, "{", b"\xff", b"", "\x00"))
def test_what_is_no_json_is_one_kind_of_error(text):
    with pytest.raises(ValueError):
        json_text.read(text)


def test_nothing_leaves_around_the_door():
    files = [file for room in ("kohya_bridge", "nodes") for file in sorted((PACK_ROOT / room).rglob("*.py"))]
    around = {name(file) for file in files if re.search(r"\bjson\.dumps?\(", file.read_text("utf-8"))}
    assert around == set(AROUND)


def test_one_module_turns_lines_into_events():
    files = [file for room in ("kohya_bridge", "nodes") for file in sorted((PACK_ROOT / room).rglob("*.py"))]
    readers = {name(file) for file in files if re.search(r"import .*\bparse_line\b", file.read_text("utf-8"))}
    assert readers == {"kohya_bridge/event_reader.py"}


def name(file: Path) -> str:
    return file.relative_to(PACK_ROOT).as_posix()
