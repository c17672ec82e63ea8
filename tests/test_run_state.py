"""What a run's events mean together, in Python and in JavaScript alike."""

import json
import random
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kohya_bridge.engines.reporter import Reporter
from kohya_bridge.event_shape import parse_line
from kohya_bridge.run_state import RunState, fold
from kohya_bridge.state_reader import StateReader, read_state

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = sorted((ROOT / "tests" / "fixtures" / "events").glob("*.jsonl"))

FOLD_STDIN = """
import { fold } from "./web/js/run_state.js";
let text = "";
for await (const piece of process.stdin) text += piece;
console.log(JSON.stringify(JSON.parse(text).map((events) => fold(events))));
"""


def events_of(file: Path) -> list[dict]:
    return [event for event in map(parse_line, file.read_text("utf-8").splitlines()) if event]


def expected_of(file: Path) -> dict:
    return json.loads(file.with_suffix("").with_suffix(".state.json").read_text("utf-8"))


@pytest.mark.parametrize("file", FIXTURES, ids=lambda file: file.stem)
def test_the_recorded_events_fold_to_the_recorded_state(file):
    assert fold(events_of(file)).to_json() == expected_of(file)


@pytest.mark.parametrize("file", FIXTURES, ids=lambda file: file.stem)
def test_a_snapshot_and_an_overlapping_tail_give_the_same_state_as_one_fold(file):
    events = events_of(file)
    for cut in range(0, len(events), 7):
        snapshot = fold(events[:cut])
        assert fold(events[max(0, cut - 5) :], snapshot).to_json() == expected_of(file)


def test_folding_leaves_the_state_before_it_untouched():
    events = events_of(FIXTURES[0])
    before = fold(events[:10])
    kept = json.dumps(before.to_json())
    fold(events[10:], before)
    assert json.dumps(before.to_json()) == kept
    assert RunState().losses == ()


def test_a_resumed_run_forgets_the_losses_behind_its_state():
    state = fold(events_of(ROOT / "tests/fixtures/events/resumed_after_a_kill.jsonl"))
    steps = [row[0] for row in state.losses]
    assert steps == sorted(set(steps)) and state.attempt == 2 and state.resumed_from == 20


def test_the_fold_in_javascript_gives_the_same_states_on_random_events():
    if shutil.which("node") is None:
        pytest.skip("node is not installed: the fold in JavaScript is not compared")
    rng = random.Random(11)
    stories = [_random_events(rng) for _ in range(200)]
    done = subprocess.run(
        ["node", "--input-type=module", "-e", FOLD_STDIN],
        input=json.dumps(stories),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    folded = json.loads(done.stdout)
    for events, state in zip(stories, folded, strict=True):
        assert state == fold(events).to_json()


def _random_events(rng: random.Random) -> list[dict]:
    """Any order, missing and null fields, repeated and skipped numbers: what no child writes but a reader may meet."""
    events, seq = [], 0
    for _ in range(rng.randrange(60)):
        seq += rng.choice([-2, 0, 1, 1, 1, 1, 3])
        event = {"v": 1, "seq": seq, "time": 1000.0 + seq, **_random_fields(rng)}
        events.append(event)
    return events


def _random_fields(rng: random.Random) -> dict:
    step = rng.randrange(20)
    must, may = {
        "queued": ({}, {"position": 2}),
        "run_started": ({}, {"attempt": 2, "engine": "native", "pid": 9, "total": 20, "resumed_from": step}),
        "phase": ({"name": rng.choice(["loading", "training", "saving"])}, {"done": 1, "total": 4}),
        "progress": (
            {"step": step},
            {
                "total": 20,
                "epoch": 1,
                "loss": rng.choice([0.1, "nan"]),
                "lr": {"unet": 0.1},
                "vram_gib": step / 3,
            },
        ),
        "validation": ({"step": step}, {"loss": 0.2}),
        "checkpoint": ({"step": step, "file": f"{step}"}, {"final": True}),
        "state": ({"dir": f"{step}"}, {"removed": [f"{rng.randrange(20)}"]}),
        "sample": ({"file": f"{step}"}, {"prompt": "p"}),
        "best": ({"file": f"{step}"}, {"reason": "r"}),
        "notice": ({"problem": "p"}, {"fix": "f"}),
        "control": ({}, {"action": rng.choice(["pause", "resume", "stop"]), "stage": "acknowledged"}),
        "run_finished": ({"outcome": "stopped"}, {"step": step, "problem": "p", "code": "c"}),
        "unknown": ({}, {"step": step}),
    }[kind := rng.choice(_KINDS)]
    chosen = {
        key: rng.choice([value, value, value, None]) for key, value in may.items() if rng.random() < 0.8
    }
    return {"kind": kind, **must, **chosen}


_KINDS = [
    "queued",
    "run_started",
    "phase",
    "progress",
    "progress",
    "progress",
    "validation",
    "checkpoint",
    "state",
    "sample",
    "best",
    "notice",
    "control",
    "run_finished",
    "unknown",
]


LOSSES = st.lists(st.floats(0.0, 10.0), min_size=1, max_size=60)


def told(losses: list[float], *, first: int = 1, seq: int = 1) -> list[dict]:
    """Progress events as an earlier version wrote them: their average starts at the first loss."""
    return [
        {
            "seq": seq + at,
            "time": 1.0,
            "kind": "progress",
            "step": first + at,
            "loss": loss,
            "loss_ema": losses[0],
        }
        for at, loss in enumerate(losses)
    ]


def test_the_smoothed_loss_of_a_short_run_is_that_of_its_losses_and_not_of_the_first():
    state = fold(told([0.9] + [0.02] * 29))
    assert state.loss_ema < 0.06  # an average that starts at the first loss says 0.51


@given(LOSSES)
def test_each_loss_weighs_as_much_as_its_age_allows_and_all_weights_are_one_together(losses):
    weights = [0.98 ** (len(losses) - 1 - at) for at in range(len(losses))]
    expected = sum(weight * loss for weight, loss in zip(weights, losses, strict=True)) / sum(weights)
    assert fold(told(losses)).loss_ema == pytest.approx(expected, abs=1e-9)


@given(LOSSES, LOSSES, st.data())
def test_a_resumed_run_is_smoothed_as_if_what_was_undone_had_never_been(first, second, data):
    kept = data.draw(st.integers(0, len(first)))
    again = {"seq": 1000, "time": 1.0, "kind": "run_started", "resumed_from": kept, "total": 99}
    resumed = fold([*told(first), again, *told(second, first=kept + 1, seq=1001)])
    straight = fold(told([*first[:kept], *second]))
    assert resumed.loss_ema == straight.loss_ema
    assert [row[2] for row in resumed.losses] == [row[2] for row in straight.losses]


def test_the_trainer_tells_the_average_that_its_readers_make(tmp_path):
    clock = iter(range(10_000))
    for resumed_from, last in ((0, 40), (25, 60)):
        report = Reporter(tmp_path, keep_states=1, clock=lambda: float(next(clock)))
        report.started(engine="native", total=60, resumed_from=resumed_from)
        for step in range(resumed_from + 1, last + 1):
            report.progress(step, loss=1.0 / step, epoch=1, lr={})
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text("utf-8").splitlines()]
    written = {event["step"]: event["loss_ema"] for event in lines if event["kind"] == "progress"}
    assert {row[0]: row[2] for row in fold(lines).losses} == written


def test_a_list_that_looks_at_every_moment_tells_what_one_tells_that_begins_then(tmp_path):
    """Also of a resume behind steps of which it has dropped the losses."""
    clock, file = iter(range(10_000)), tmp_path / "events.jsonl"
    light = StateReader(file, with_losses=False)
    for resumed_from, last in ((0, 40), (25, 33), (25, 60)):
        report = Reporter(tmp_path, keep_states=1, clock=lambda: float(next(clock)))
        report.started(engine="native", total=60, resumed_from=resumed_from)
        for step in range(resumed_from + 1, last + 1):
            assert light.look() == replace(read_state(file), losses=())
            report.progress(step, loss=1.0 / step, epoch=1, lr={})
    assert light.look().loss_ema == read_state(file).losses[-1][2]
