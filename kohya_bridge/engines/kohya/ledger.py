"""The ledger: what sd-scripts' own state lacks for a right resume, as one JSON file inside each state folder.

In: the true cumulative step, the place in the epoch, the random states from which that epoch's order was drawn, and those of
the moment itself. Out: the same, read back. sd-scripts counts steps from the start of the process and saves no sampler, so its
own `--resume` trains too long, reuses names and repeats pictures; see `resuming`. Standard library, numpy and torch.
"""

from __future__ import annotations

import base64
import random
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ... import json_text
from ...device.accelerator import Accelerator
from ...files import Tree

LEDGER_FILE = "ledger.json"
LEDGER_VERSION = 1
_MT19937_WORDS = 624


@dataclass(frozen=True)
class RandomStates:
    """Python's, numpy's and torch's generators, in forms that JSON takes."""

    python: list[Any]
    numpy: list[Any]
    torch: str
    devices: list[str] = field(default_factory=list)
    """Those of the graphics cards, in torch's order."""


@dataclass(frozen=True)
class Ledger:
    """One moment of a run, at a step boundary."""

    step: int
    """Optimizer steps since the run began, over all attempts."""
    epoch: int
    """Epoch in progress, counted from 0 over all attempts."""
    batches: int
    """Micro-batches of that epoch that are done."""
    batches_per_epoch: int
    order: RandomStates | None
    """Random states at the beginning of that epoch."""
    now: RandomStates | None = None
    """Random states at this boundary. None in a state of an earlier version, which has them in accelerate's pickle alone."""

    def after_whole_epoch(self) -> Ledger:
        """The same moment told as the beginning of the next epoch, if this one is over."""
        if not self.batches_per_epoch or self.batches < self.batches_per_epoch:
            return self
        return replace(self, epoch=self.epoch + 1, batches=0, order=None)


def write_ledger(folder: Path, ledger: Ledger) -> None:
    text = json_text.write({"version": LEDGER_VERSION, **asdict(ledger)})
    Tree(folder).write(LEDGER_FILE, text)


def read_ledger(folder: Path) -> Ledger | None:
    """The ledger of a state folder, or None where there is none (a state that plain sd-scripts wrote).

    Raises KeyError, TypeError or ValueError for one that nobody wrote so.
    """
    try:
        data = Tree(folder).read_json(LEDGER_FILE)
    except FileNotFoundError:
        return None
    if not isinstance(data, dict):
        raise TypeError("it does not hold names and values")
    data.pop("version")
    order, now = data.pop("order"), data.pop("now", None)
    for name, number in data.items():
        if type(number) is not int or number < 0:
            raise ValueError(f"{name} is {number!r}")
    return Ledger(
        **data, order=RandomStates(**order) if order else None, now=RandomStates(**now) if now else None
    )


def capture_random_states() -> RandomStates:
    import numpy
    import torch

    kind, keys, position, has_gauss, cached = numpy.random.get_state(legacy=True)
    version, words, gauss = random.getstate()
    return RandomStates(
        python=[version, list(words), gauss],
        numpy=[kind, [int(key) for key in keys], int(position), int(has_gauss), float(cached)],
        torch=_text(torch.get_rng_state()),
        devices=[_text(each) for each in Accelerator.find(torch).random_states()],
    )


def restore_random_states(states: RandomStates) -> None:
    """Put every generator back. A state of another machine may know more or fewer cards; those that both have are put back.

    Raises TypeError, ValueError, OverflowError or RuntimeError for states that no generator can have.
    """
    import numpy
    import torch

    version, words, gauss = states.python
    random.setstate((version, tuple(words), gauss))
    kind, keys, position, has_gauss, cached = states.numpy
    if (
        len(keys) != _MT19937_WORDS or not 0 <= position <= _MT19937_WORDS
    ):  # numpy itself would look beyond the end
        raise ValueError("numpy's random state is none of MT19937")
    numpy.random.set_state((kind, numpy.array(keys, dtype=numpy.uint32), position, has_gauss, cached))
    torch.set_rng_state(_tensor(states.torch))
    Accelerator.find(torch).restore_random_states([_tensor(each) for each in states.devices])


def _text(state: Any) -> str:
    return base64.b64encode(bytes(state.tolist())).decode("ascii")


def _tensor(text: str) -> Any:
    import torch

    return torch.tensor(list(base64.b64decode(text)), dtype=torch.uint8)
