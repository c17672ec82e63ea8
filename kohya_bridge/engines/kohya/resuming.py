"""Resuming right: exactly the remaining steps, in the order of one straight run.

In: the states that there are and the ledger of the one that sd-scripts loads. Out: a data loader that goes on in the middle of the epoch, the number
of steps and epochs that upstream has to plan, and an epoch and step number that count from the run's first start.

Upstream's own arithmetic is wrong (sd-scripts issues #1999, #2171, #2248, #2407): a second resume trains too many steps and
reuses names. Here upstream is told of the remaining steps only and believes that it starts anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ...files import Tree
from ...state_folders import states_of
from ...state_reader import read_state
from .ledger import Ledger, RandomStates, capture_random_states, restore_random_states


def state_to_resume(run_dir: Path, told: dict[str, Any]) -> Path | None:
    """The state that the orders name, or an older one where that is needed to train what a straight run trains.

    A state of an earlier version may lack the measurement of its step, and sd-scripts can't measure before its first step. That would
    leave an early stop to other numbers, so where one may come the state before it is taken, or the beginning.
    """
    if not told.get("resume"):
        return None
    named = Path(told["resume"]).name
    unmeasured = _steps_to_measure(run_dir, told)
    rows = read_state(run_dir / "events.jsonl").states
    for state in reversed(states_of(Tree(run_dir), {row["dir"] for row in rows})):
        step = int(state.name.removeprefix("step"))
        if (
            state.name <= named
            and step < told["plan"]["settings"]["max_train_steps"]
            and not unmeasured(step)
        ):
            return state
    return None


def _steps_to_measure(run_dir: Path, told: dict[str, Any]) -> Callable[[int], bool]:
    """Whether a step's measurement is missing in a run that it may end."""
    settings = told["plan"]["settings"]
    every = settings["validate_every_n_steps"] or settings["save_every_n_steps"]
    may_end = settings["early_stop_patience"] or settings["target_psnr"]
    if not (may_end and every and told["kohya"]["held_out"]):
        return lambda step: False
    measured = {row["step"] for row in read_state(run_dir / "events.jsonl").validations}
    return lambda step: step % every == 0 and step not in measured


class EpochOrder:
    """Wraps the training data loader: knows the place in the epoch, and begins a resumed epoch where it was left.

    A resumed epoch is drawn again from the random states of its beginning, the batches that were trained are passed over,
    and the random states of the step boundary are put back: what follows is bit for bit the straight run.
    """

    def __init__(self, loader: Any, *, begin_at: Ledger | None):
        self.loader = loader
        self.begin_at = begin_at
        self.epoch = begin_at.epoch if begin_at else 0
        self.batches = 0
        self.order: RandomStates | None = None
        self._started = False

    def __len__(self) -> int:
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def __iter__(self) -> Iterator[Any]:
        if self._started:
            self.epoch += 1
        resumed, self.begin_at = self.begin_at, None
        self._started = True
        self.batches = 0
        if resumed and self.loader.num_workers == 0:
            # A loader without workers shuffles in this process; it is brought to the epoch before. Workers are forked
            # from a data set that stands at epoch 0 every time.
            boundary = capture_random_states()
            self.loader.dataset.set_current_epoch(resumed.epoch)
            restore_random_states(boundary)
        if resumed and resumed.order and resumed.batches and resumed.batches_per_epoch == len(self.loader):
            batches = self._replay(resumed)
        else:
            self.order = capture_random_states()
            batches = iter(self.loader)
        for batch in batches:
            self.batches += 1
            yield batch

    def _replay(self, resumed: Ledger) -> Iterator[Any]:
        assert resumed.order is not None
        boundary = capture_random_states()
        restore_random_states(resumed.order)
        self.order = resumed.order
        batches: Iterator[Any] = iter(self.loader)
        for _ in range(resumed.batches):
            next(batches)
        self.batches = resumed.batches
        restore_random_states(boundary)
        return batches


class Shifted:
    """A `multiprocessing.Value` seen with an offset: upstream counts this process, data sets want the whole run."""

    def __init__(self, value: Any, offset: int):
        self._value = value
        self._offset = offset

    @property
    def value(self) -> int:
        return int(self._value.value) + self._offset


def steps_to_plan(remaining: int, resumed: Ledger | None, *, accumulation: int) -> int:
    """Steps that upstream must plan its epochs for: the remaining ones and those done in the epoch in progress.

    Upstream divides this by the steps of an epoch; without the done part it would plan an epoch too few.
    """
    return remaining + (math.ceil(resumed.batches / accumulation) if resumed else 0)
