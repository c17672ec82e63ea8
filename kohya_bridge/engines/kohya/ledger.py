"""The ledger: what sd-scripts' own state lacks for a right resume, as one JSON file inside each state folder.

In: the true cumulative step, the place in the epoch, and the random states from which that epoch's order was drawn. Out:
the same, read back. sd-scripts counts steps from the start of the process and saves no sampler, so its own `--resume`
trains too long, reuses names and repeats pictures; see `resuming`. Standard library, numpy and torch.
"""

from __future__ import annotations

import base64
import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...files import Tree

LEDGER_FILE = "ledger.json"
LEDGER_VERSION = 1


@dataclass(frozen=True)
class RandomStates:
    """Python's, numpy's and torch's CPU generators, in forms that JSON takes."""

    python: list[Any]
    numpy: list[Any]
    torch: str


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

    def after_whole_epoch(self) -> Ledger:
        """The same moment told as the beginning of the next epoch, if this one is over."""
        if not self.batches_per_epoch or self.batches < self.batches_per_epoch:
            return self
        return Ledger(self.step, self.epoch + 1, 0, self.batches_per_epoch, None)


def write_ledger(folder: Path, ledger: Ledger) -> None:
    text = json.dumps({"version": LEDGER_VERSION, **asdict(ledger)})
    Tree(folder).write(LEDGER_FILE, text)


def read_ledger(folder: Path) -> Ledger | None:
    """The ledger of a state folder, or None where there is none (a state that plain sd-scripts wrote)."""
    try:
        data = Tree(folder).read_json(LEDGER_FILE)
    except FileNotFoundError:
        return None
    data.pop("version")
    order = data.pop("order")
    return Ledger(**data, order=RandomStates(**order) if order else None)


def capture_random_states() -> RandomStates:
    import numpy
    import torch

    kind, keys, position, has_gauss, cached = numpy.random.get_state(legacy=True)
    version, words, gauss = random.getstate()
    return RandomStates(
        python=[version, list(words), gauss],
        numpy=[kind, [int(key) for key in keys], int(position), int(has_gauss), float(cached)],
        torch=base64.b64encode(bytes(torch.get_rng_state().tolist())).decode("ascii"),
    )


def restore_random_states(states: RandomStates) -> None:
    import numpy
    import torch

    version, words, gauss = states.python
    random.setstate((version, tuple(words), gauss))
    kind, keys, position, has_gauss, cached = states.numpy
    numpy.random.set_state((kind, numpy.array(keys, dtype=numpy.uint32), position, has_gauss, cached))
    torch.set_rng_state(torch.tensor(list(base64.b64decode(states.torch)), dtype=torch.uint8))
