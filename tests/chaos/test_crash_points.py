"""A run comes to the same end wherever its trainer was killed, cut off in mid-write, or out of disk space."""

from __future__ import annotations

import random
import sys

import pytest

from scripts.chaos.crash_points import Point, hurt, measure, pairs, walk
from scripts.chaos.subjects import SUBJECTS

pytestmark = pytest.mark.timeout(1500)  # seconds of work, which a busy machine makes minutes


@pytest.fixture
def subject(tmp_path, request, monkeypatch):
    from tests.kohya_bench import DOUBLE

    monkeypatch.setenv("KOHYA_SD_SCRIPTS", str(DOUBLE))
    monkeypatch.setenv("KOHYA_PYTHON", sys.executable)
    return SUBJECTS[request.param](tmp_path)


def troubles(runs) -> list[str]:
    return [str(trouble) for trouble in runs if trouble]


@pytest.mark.parametrize("subject", ["quick"], indirect=True)
def test_each_durable_operation_may_be_the_last_one(subject):
    assert not troubles(walk(subject, hows=("kill",)))


@pytest.mark.parametrize("subject", ["quick"], indirect=True)
def test_events_may_be_torn_and_the_disk_may_fill_up_at_any_operation(subject):
    assert not troubles(walk(subject, hows=("tear", "full"), choose=lambda points: points[::4]))


@pytest.mark.parametrize("subject", ["quick, early stop"], indirect=True)
def test_an_early_stop_comes_at_the_same_step_after_a_kill(subject):
    assert not troubles(walk(subject, hows=("kill",), choose=lambda points: points[-24::2]))


@pytest.mark.parametrize("subject", ["quick"], indirect=True)
def test_a_second_kill_may_come_while_the_first_is_recovered_from(subject):
    assert not troubles(pairs(subject, count=8, seed=7))


def after_the_last_checkpoint(points: list[Point], operations: list[str]) -> list[Point]:
    begin = max(n for n, each in enumerate(operations) if each.startswith("os.rename checkpoints/"))
    return [point for point in points if point.at > begin]


@pytest.mark.parametrize(
    ("subject", "count"),
    [("native", 4), ("native, early stop", 2), ("kohya", 3), ("kohya, early stop", 2)],
    indirect=["subject"],
)
def test_a_trainer_that_dies_between_its_last_files_and_its_verdict_costs_no_run(subject, count):
    """A few of the points at which runs used to be lost; `python -m scripts.chaos points` walks them all."""
    yardstick = measure(subject)
    points = after_the_last_checkpoint(yardstick.points(("kill",)), yardstick.operations)
    chosen = random.Random(count).sample(points, count)
    assert not troubles(hurt(subject, yardstick, [point], name=f"at-{point.at}") for point in chosen)
