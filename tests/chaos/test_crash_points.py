"""A run comes to the same end wherever its trainer was killed, cut off in mid-write, or out of disk space.

One point of each kind of durable write stands here for all of them; `python -m scripts.chaos points` walks every point.
"""

from __future__ import annotations

import random
import sys

import pytest

from scripts.chaos.crash_points import Point, hurt, measure, one_of_each_kind, pairs
from scripts.chaos.subjects import SUBJECTS

pytestmark = [
    pytest.mark.campaign,
    pytest.mark.timeout(1500),
]  # seconds of work, which a busy machine makes minutes


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Makes a subject and what an untouched run of it comes to, once for each name."""
    from tests.kohya_bench import DOUBLE

    made = {}

    def of(name: str):
        if name not in made:
            subject = SUBJECTS[name](tmp_path_factory.mktemp("subject"))
            made[name] = subject, measure(subject)
        return made[name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KOHYA_SD_SCRIPTS", str(DOUBLE))
        patch.setenv("KOHYA_PYTHON", sys.executable)
        yield of


def troubles(subject, yardstick, points: list[Point]) -> list[str]:
    found = (hurt(subject, yardstick, [each], name=f"{each.how}-{each.at}") for each in points)
    return [str(trouble) for trouble in found if trouble]


def test_the_points_that_stand_for_all_are_of_every_kind_of_durable_write(trained):
    _, yardstick = trained("quick")
    chosen = one_of_each_kind(yardstick.points(("kill",)), yardstick.operations)
    told = {yardstick.operations[each.at - 1].split("/")[0].split(".")[0] for each in chosen}
    assert told == {each.split("/")[0].split(".")[0] for each in yardstick.operations}
    assert len(chosen) < len(yardstick.operations)


def test_each_durable_operation_may_be_the_last_one(trained):
    subject, yardstick = trained("quick")
    assert not troubles(
        subject, yardstick, one_of_each_kind(yardstick.points(("kill",)), yardstick.operations)
    )


@pytest.mark.parametrize("how", ["tear", "full"])
def test_events_may_be_torn_and_the_disk_may_fill_up_at_any_operation(trained, how):
    subject, yardstick = trained("quick")
    points = one_of_each_kind(yardstick.points((how,)), yardstick.operations)
    assert not troubles(subject, yardstick, random.Random(how).sample(points, 2))


def test_an_early_stop_comes_at_the_same_step_after_a_kill(trained):
    subject, yardstick = trained("quick, early stop")
    assert not troubles(subject, yardstick, yardstick.points(("kill",))[-20::7])


def test_a_second_kill_may_come_while_the_first_is_recovered_from(trained):
    subject, yardstick = trained("quick")
    assert not [str(trouble) for trouble in pairs(subject, count=2, seed=7, yardstick=yardstick) if trouble]


def after_the_last_checkpoint(points: list[Point], operations: list[str]) -> list[Point]:
    begin = max(n for n, each in enumerate(operations) if each.startswith("os.rename checkpoints/"))
    return [point for point in points if point.at > begin]


@pytest.mark.torch
@pytest.mark.parametrize("name", [pytest.param("native", marks=pytest.mark.full), "kohya, early stop"])
def test_a_trainer_that_dies_between_its_last_files_and_its_verdict_costs_no_run(trained, name):
    subject, yardstick = trained(name)
    points = after_the_last_checkpoint(yardstick.points(("kill",)), yardstick.operations)
    assert not troubles(subject, yardstick, random.Random(name).sample(points, 1))


@pytest.mark.torch
def test_a_native_trainer_may_be_killed_torn_or_out_of_room_at_any_operation(trained):
    subject, yardstick = trained("native")
    points = [
        random.Random(how).choice(one_of_each_kind(yardstick.points((how,)), yardstick.operations))
        for how in ("kill", "tear", "full")
    ]
    assert not troubles(subject, yardstick, points)


@pytest.mark.torch
def test_a_kill_between_a_checkpoint_and_the_measurement_of_its_step_costs_sd_scripts_no_measurement(trained):
    subject, yardstick = trained("kohya, early stop")
    saved = next(
        n for n, each in enumerate(yardstick.operations, 1) if each.startswith("os.rename states/step")
    )
    assert not troubles(subject, yardstick, [Point(saved - 1, "kill")])
