"""Nothing that other people wrote steers the terminal: every verb speaks through one door."""

from __future__ import annotations

import ast
import json
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from kohya_bridge.cli.output import Output
from kohya_bridge.console import shown, shown_as_json, shown_in_one_line
from kohya_bridge.errors import BridgeError
from kohya_bridge.workspace import PACK_ROOT

ANYTHING = some.text(alphabet=some.characters(codec=None))
STEERING = "\x1b[31m\x07\x9b\x7f\u202e\u2066\u2028\ud800\rx"


def steers(text: str) -> bool:
    kinds = (unicodedata.category(each) for each in text if each not in "\n\t\u200c\u200d")
    return any(kind in ("Cc", "Cf", "Cs", "Zl", "Zp") for kind in kinds)


@given(ANYTHING)
@example(STEERING)
def test_what_is_shown_steers_nothing_and_plain_text_is_left_as_it_is(text):
    assert not steers(shown(text))
    assert shown(text) == text or steers(text)
    assert not {"\n", "\t"} & set(shown_in_one_line(text))


@given(
    some.recursive(
        ANYTHING | some.floats(allow_nan=False),
        lambda deeper: some.dictionaries(ANYTHING, deeper, max_size=3),
        max_leaves=4,
    )
)
@example({STEERING: STEERING})
@example("\U000e0041\u2028")
def test_json_for_a_program_steers_nothing_and_reads_the_same(value):
    told = shown_as_json(json.dumps(value, ensure_ascii=False))
    assert not steers(told)
    assert json.loads(told) == json.loads(json.dumps(value))


@pytest.mark.parametrize("as_json", [False, True])
def test_sentences_tables_results_and_errors_all_go_through_it(capsys, as_json):
    out = Output(as_json=as_json)
    out.say(f"a {STEERING}")
    out.emit({"a": STEERING})
    out.table(["name"], [[STEERING], ["two\nlines\tand columns"]])
    out.error(BridgeError(f"It is {STEERING}.", STEERING))
    said = capsys.readouterr()
    assert not steers(said.out + said.err)
    assert as_json or ("\\x1b[31m" in said.out and "\\u202e" in said.err and "two\\nlines" in said.out)


def test_no_verb_prints_past_the_door():
    door = PACK_ROOT / "kohya_bridge" / "cli" / "output.py"
    for file in sorted((PACK_ROOT / "kohya_bridge" / "cli").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and ast.unparse(node.func).rsplit(".")[-1] == "print"
                and file != door
            ):
                assert "shown" in ast.unparse(node), f"{file.name}:{node.lineno}"
