"""Lines of `events.jsonl` that our children never write are passed over, and hide nothing else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as some

from kohya_bridge.event_reader import read_events
from kohya_bridge.event_shape import parse_line
from kohya_bridge.events import EVENT_KINDS, encode
from kohya_bridge.run_state import fold

JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = (
    "step", "total", "epoch", "loss", "loss_ema", "lr", "file", "dir", "removed", "outcome", "attempt", "resumed_from", "sha256",
    "final", "name", "position", "code", "anything", "action", "stage", "cells", "psnr", "eta_s",
)  # fmt: skip
EVENTS = some.fixed_dictionaries(
    {"seq": some.integers(1, 99), "time": some.just(1.0), "kind": some.sampled_from(sorted(EVENT_KINDS))},
    optional={name: JSON | some.integers(0, 9) | some.just("checkpoints/a.safetensors") for name in FIELDS},
)


@given(some.lists(EVENTS, max_size=6))
def test_whatever_stands_in_the_lines_they_are_folded_and_sent_on_as_valid_json(events):
    lines = [json.dumps(event) for event in events]
    sound = [event for line in lines if (event := parse_line(line)) is not None]
    json.dumps(fold(sound).to_json(), allow_nan=False).encode("utf-8")


@given(some.text() | some.sampled_from(["../x", "/etc/passwd", "checkpoints/../../x.safetensors", "C:\\x"]))
def test_a_name_that_is_taken_stays_in_its_folder(name):
    for kind, field in (("checkpoint", "file"), ("best", "file"), ("state", "dir"), ("sample", "file")):
        event = parse_line(json.dumps({"seq": 1, "time": 1.0, "kind": kind, "step": 1, field: name}))
        if event is not None:
            folder, _, rest = event[field].partition("/")
            assert (
                folder in ("checkpoints", "states", "samples")
                and "/" not in rest
                and rest not in ("", ".", "..")
            )
            assert "\\" not in rest


@pytest.mark.parametrize(
    "line",
    [
        '{"seq":1,"time":1,"kind":"checkpoint","step":4,"file":"/etc/passwd"}',
        '{"seq":1,"time":1,"kind":"checkpoint","step":4,"file":"checkpoints/../run.json"}',
        '{"seq":1,"time":1,"kind":"checkpoint","file":"checkpoints/a.safetensors"}',
        '{"seq":1,"time":1,"kind":"state","step":4,"dir":"states/step00000004/../../x"}',
        '{"seq":1,"time":1,"kind":"state","step":4,"dir":"states/step00000004","removed":["../x"]}',
        '{"seq":"1","time":1,"kind":"phase","name":"saving"}',
        '{"seq":1,"time":"x","kind":"phase","name":"saving"}',
        '{"seq":1,"time":1,"kind":7}',
        '{"seq":1,"time":1,"kind":"progress","step":true}',
        '{"seq":1,"time":1,"kind":"progress","step":4,"loss":[1]}',
        '{"seq":1,"time":1,"kind":"progress","step":' + "9" * 5000 + "}",
        '{"seq":1,"time":1,"kind":"progress","step":4,"loss":1e999}',
        '{"seq":1,"time":1,"kind":"notice","problem":"\\ud800"}',
        '{"seq":1,"time":1,"kind":"progress","step":1,"lr":{"\\udfff":1}}',
        '{"seq":1,"time":1,"kind":"validation","step":1,"anything":1e999}',
        '{"seq":1,"time":1,"kind":"run_finished","outcome":"won"}',
        "[" * 100_000,
        "null",
        "",
    ],
)
def test_a_misshapen_line_is_no_event(line):
    assert parse_line(line) is None


def test_not_a_number_is_told_as_text_as_our_own_writer_does():
    event = parse_line('{"seq":1,"time":1,"kind":"progress","step":4,"loss":NaN}')
    assert event is not None and event["loss"] == "NaN"


def test_what_the_writer_encodes_is_an_event_again():
    event = {
        "v": 1,
        "seq": 1,
        "time": 1.0,
        "kind": "progress",
        "step": 4,
        "loss": float("nan"),
        "lr": {"unet": 1e-4},
    }
    assert parse_line(encode(event).encode()) == {**event, "loss": "nan"}


def test_one_bad_line_hides_no_other(tmp_path):
    lines = ['{"seq":1,"time":1,"kind":"phase","name":"loading"}', '{"seq":2,"time":1,"kind":"checkpoint","step":1,"file":7}',
             '{"seq":3,"time":1,"kind":"phase","name":"training"}']  # fmt: skip
    (tmp_path / "events.jsonl").write_text("\n".join(lines) + "\n")
    assert [event["seq"] for event in read_events(tmp_path / "events.jsonl")] == [1, 3]
