"""Whatever stands in events.jsonl: what comes through the border folds, is sent as JSON, and hides nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from kohya_bridge.event_reader import read_events
from kohya_bridge.event_shape import is_sound, parse_line
from kohya_bridge.events import EventLog, encode
from kohya_bridge.run_state import fold

FIXTURES = sorted((Path(__file__).parent / "fixtures" / "events").glob("*.jsonl"))
FIELDS = sorted(
    {"seq", "time", "kind", "cells", *(name for file in FIXTURES for event in read_events(file) for name in event)}
)  # fmt: skip
ANY = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(alphabet=some.characters(codec=None)),
    lambda deeper: some.lists(deeper, max_size=3) | some.dictionaries(some.text(), deeper, max_size=3),
    max_leaves=6,
)  # fmt: skip
SOUND = [event for file in FIXTURES for event in read_events(file)]


@pytest.mark.parametrize("file", FIXTURES, ids=lambda file: file.stem)
def test_everything_that_trainers_write_is_sound(file):
    lines = [line for line in file.read_text("utf-8").splitlines() if line.endswith("}")]
    assert all(parse_line(line) == json.loads(line) for line in lines)


@given(some.sampled_from(SOUND), some.dictionaries(some.sampled_from(FIELDS), ANY, min_size=1, max_size=3))
def test_an_altered_event_is_passed_over_or_folds_and_is_sent(event, changes):
    line = json.dumps({**event, **changes})
    altered = parse_line(line)
    if altered is None:
        return
    state = fold([*SOUND[:5], {**altered, "seq": SOUND[4]["seq"] + altered["seq"] + 1}])
    text = json.dumps(state.to_json(), allow_nan=False, ensure_ascii=False)
    text.encode("utf-8")
    assert json.loads(text)


@given(some.binary() | some.text().map(lambda text: text.encode("utf-8", "replace")))
def test_no_line_is_too_strange_to_be_passed_over(line):
    parse_line(line)


@pytest.mark.parametrize(
    "line",
    [
        '{"seq": "1", "time": 1, "kind": "phase", "name": "loading"}',
        '{"seq": 1, "time": "1", "kind": "phase", "name": "loading"}',
        '{"seq": true, "time": 1, "kind": "phase", "name": "loading"}',
        '{"seq": 1e400, "time": 1, "kind": "phase", "name": "loading"}',
        '{"seq": 1, "time": NaN, "kind": "phase", "name": "loading"}',
        '{"seq": 1, "time": 1e300, "kind": "queued"}',
        f'{{"seq": {10**400}, "time": 1, "kind": "queued"}}',
        '{"seq": 1, "time": 1, "kind": "progress"}',
        '{"seq": 1, "time": 1, "kind": "progress", "step": -1}',
        '{"seq": 1, "time": 1, "kind": "progress", "step": 1, "vram_gib": "much"}',
        '{"seq": 1, "time": 1, "kind": "progress", "step": 1, "lr": [1]}',
        '{"seq": 1, "time": 1, "kind": "run_finished", "outcome": "exploded"}',
        '{"seq": 1, "time": 1, "kind": "checkpoint", "step": 1, "sha256": "0", "file": "/etc/passwd"}',
        '{"seq": 1, "time": 1, "kind": "checkpoint", "step": 1, "sha256": "0", "file": "../../x"}',
        '{"seq": 1, "time": 1, "kind": "checkpoint", "step": 1, "sha256": "0", "file": "C:\\\\x"}',
        '{"seq": 1, "time": 1, "kind": "state", "dir": "states/x", "removed": ["../.."]}',
        '{"seq": 1, "time": 1, "kind": "sample", "file": "a\\u0000b"}',
        "[" * 100_000,
        '{"seq":1,"time":1,"kind":"phase","name":' + '{"a":' * 50_000,
        "{}", "[]", "null", "7", '"x"', "", "\x00", "{",
    ],
    ids=range(27),
)  # fmt: skip
def test_a_line_that_no_trainer_writes_is_passed_over(line, tmp_path):
    assert parse_line(line) is None and parse_line(line.encode()) is None
    file = tmp_path / "events.jsonl"
    whole = [encode({**event, "seq": at}) for at, event in enumerate(SOUND[:4], start=1)]
    file.write_text("".join([*whole[:2], line + "\n", *whole[2:]]))
    assert [event["seq"] for event in read_events(file)] == [1, 2, 3, 4]
    log = EventLog(file)
    log.write("queued", position=1)
    log.close()
    assert [event["seq"] for event in read_events(file)] == [1, 2, 3, 4, 5]


def test_numbers_that_json_does_not_have_are_told_as_words():
    event = parse_line(
        '{"seq": 1, "time": 1, "kind": "progress", "step": 1, "loss": NaN, "loss_ema": -Infinity}'
    )
    assert (event["loss"], event["loss_ema"]) == ("NaN", "-Infinity")


def test_half_a_surrogate_pair_is_passed_over_and_a_whole_one_is_not():
    line = r'{"seq": 1, "time": 1, "kind": "notice", "level": "info", "problem": "%s", "fix": ""}'
    assert parse_line(line % r"a\ud800b") is None
    assert parse_line(line % r"\ud83d\ude00")["problem"] == "\U0001f600"


def test_what_later_versions_add_is_left_alone():
    assert is_sound({"seq": 1, "time": 1, "kind": "of_a_later_version", "anything": [{}]})
    assert is_sound({"seq": 1, "time": 1, "kind": "phase", "name": "loading", "anything": [{}]})
