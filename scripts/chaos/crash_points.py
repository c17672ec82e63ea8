"""Every crash point of a run, once: killed, torn or out of disk space at each durable operation, then resumed.

In: a `Subject`, which makes runs and trains one attempt at them. Out: `Trouble` for each point after which the run did not come to
what an untouched one comes to. The points are counted in an untouched run (`durable.py`), so that none is forgotten.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kohya_bridge.run_folder import RunFolder

from .durable import Fault
from .outcome import Outcome, outcome_of, untidiness

_NUMBERS = re.compile(r"[0-9a-f]{8,}|\d+")
ATTEMPTS = 4
"""How many attempts a run gets after its accidents. One is enough unless an accident befalls it too."""


class Subject(Protocol):
    """Something that trains."""

    root: Path
    weights_only: bool

    def run(self, name: str) -> RunFolder:
        """A run folder with the plan of every run of this subject and nothing else."""

    def attempt(self, run: RunFolder, fault: Fault | None) -> None:
        """One attempt as the desk makes it: from the newest state, settled when it is over, however it ended."""


@dataclass(frozen=True)
class Point:
    """The n-th durable operation of an attempt, and what happens there."""

    at: int
    how: str


@dataclass(frozen=True)
class Trouble:
    """A run that did not come to what it should."""

    points: tuple[Point, ...]
    operations: tuple[str, ...]
    what: tuple[str, ...]

    def __str__(self) -> str:
        places = "; then ".join(
            f"{point.how} at {point.at} ({operation})"
            for point, operation in zip(self.points, self.operations, strict=True)
        )
        return f"{places}: {' '.join(self.what)}"


@dataclass
class Yardstick:
    """An untouched run: what it came to, and its operations in order."""

    outcome: Outcome
    operations: list[str]

    def points(self, hows: Sequence[str] = ("kill", "tear", "full")) -> list[Point]:
        """Every operation in every way that makes sense for it."""
        return [
            Point(at, how)
            for at, operation in enumerate(self.operations, start=1)
            for how in hows
            if (how != "tear" or operation.startswith("append"))
            and (how != "full" or not operation.startswith(("os.remove", "os.rmdir")))
        ]


def one_of_each_kind(points: Sequence[Point], operations: Sequence[str]) -> list[Point]:
    """For each kind of durable write and each way of failing one point, the last of its kind: what the fewest writes come after. Of the
    many that only append an event every fifth is taken."""
    chosen: dict[tuple[str, str, int], Point] = {}
    for point in points:
        kind = _NUMBERS.sub("", operations[point.at - 1])
        chosen[point.how, kind, point.at // 5 if kind == "append events.jsonl" else 0] = point
    return list(chosen.values())


def measure(subject: Subject) -> Yardstick:
    """Train one run undisturbed. Raises AssertionError when even that is not in order."""
    run = subject.run("untouched")
    fault = Fault(str(run.dir), str(subject.root / "untouched.operations"))
    subject.attempt(run, fault)
    wrong = untidiness(run)
    assert not wrong, f"An untouched run is not in order: {wrong}"
    return Yardstick(outcome_of(run, weights_only=subject.weights_only), fault.operations())


def hurt(subject: Subject, yardstick: Yardstick, points: Sequence[Point], *, name: str) -> Trouble | None:
    """Train one run that meets with an accident in each of its first attempts, then let it go on to its end."""
    run, met = subject.run(name), []
    for number, point in enumerate(points):
        fault = Fault(
            str(run.dir), str(subject.root / f"{name}-{number}.operations"), at=point.at, how=point.how
        )
        subject.attempt(run, fault)
        met.append(([*fault.operations(), "its end"])[: point.at][-1])
    for _ in range(ATTEMPTS):
        if run.state().status == "completed":
            break
        subject.attempt(run, None)
    wrong = untidiness(run)
    found = outcome_of(run, weights_only=subject.weights_only)
    wrong += [
        f"{field} is {getattr(found, field)}, not {expected}."
        for field, expected in yardstick.outcome.__dict__.items()
        if getattr(found, field) != expected
    ]
    after = [
        yardstick.operations[point.at - 1] if point.at <= len(yardstick.operations) else each
        for point, each in zip(points, met, strict=True)
    ]
    return Trouble(tuple(points), tuple(after), tuple(wrong)) if wrong else None


def walk(
    subject: Subject,
    *,
    hows: Sequence[str] = ("kill", "tear", "full"),
    choose: Callable[[list[Point]], list[Point]] = list,
) -> Iterator[Trouble | None]:
    """Hurt one run at each point, or at those that `choose` picks: None where all was well."""
    yardstick = measure(subject)
    for point in choose(yardstick.points(hows)):
        yield hurt(subject, yardstick, [point], name=f"{point.how}-{point.at}")


def pairs(
    subject: Subject, *, count: int, seed: int, yardstick: Yardstick | None = None
) -> Iterator[Trouble | None]:
    """Hurt `count` runs twice in a row, the second time while they recover, at points drawn by `seed`."""
    dice, yardstick = random.Random(seed), yardstick or measure(subject)
    points = yardstick.points()
    for number in range(count):
        yield hurt(subject, yardstick, dice.sample(points, 2), name=f"pair-{seed}-{number}")
