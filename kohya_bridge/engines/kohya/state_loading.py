"""Loading a resume state of sd-scripts, exactly or not at all.

In: a state folder with its ledger, and accelerate's own loading. Out: weights, optimiser and scheduler put back by accelerate,
random states by the ledger, or a `ChildFailure` that says what is wrong with the folder. The folder may have been passed on:
accelerate's files are pickles, of which torch reads tensors alone (`contract.py` sees to that).

accelerate goes on without a word where it can't read `random_states_*.pkl`. So those of the ledger count; a state of an earlier
version, which has none there, must be seen to have been restored.
"""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...errors import UnusableFile
from ...files import Tree
from ..child import ChildFailure
from . import ranks
from .ledger import Ledger, RandomStates, capture_random_states, read_ledger, restore_random_states

_UNRESTORED_SEED = 0x5EED


def ledger_of(folder: Path) -> Ledger | None:
    """The ledger of a state folder, None where it has none. Raises ChildFailure for one that can't be read."""
    try:
        return read_ledger(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder, error) from error


def load_state(folder: Path, ledger: Ledger, load: Callable[[], None]) -> None:
    """Call accelerate's `load` and put the random states back.

    Raises:
        ChildFailure: a file is missing, damaged or no plain file, holds more than numbers, or random states were lost.
    """
    if ranks.rank() != 0:  # sd-scripts saves on rank 0 alone: the others have no random states to go on from
        _load(folder, load)
        return
    for states in filter(None, (ledger.order, ledger.now)):
        _restore(folder, states)  # what can't be put back is better known before anything is loaded
    _spoil_generators()
    _load(folder, load)
    if ledger.now:
        _restore(folder, ledger.now)
    else:
        _require_restored(folder)


def _restore(folder: Path, states: RandomStates) -> None:
    try:
        restore_random_states(states)
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise _damaged(folder, error) from error


def _load(folder: Path, load: Callable[[], None]) -> None:
    from safetensors import SafetensorError

    files = Tree(folder)
    try:
        for each in files.entries():
            files.plain(each)
        load()
    except pickle.UnpicklingError as error:
        if "weights only load failed" not in str(error).lower():
            raise _damaged(folder, error) from error
        raise ChildFailure(
            f"A file of the state in {folder.name} holds more than numbers, or is damaged; it was not loaded. {_reason(error)}",
            "Delete that folder and resume: the state before it is used. If the run came from somebody else, don't trust it.",
            code="damaged_state",
        ) from error
    except (OSError, UnusableFile, EOFError, KeyError, SafetensorError) as error:
        raise _damaged(folder, error) from error
    except RuntimeError as error:
        if "PytorchStreamReader" in str(error):  # torch's word for a zip archive that it can't read
            raise _damaged(folder, error) from error
        raise


def _reason(error: Exception) -> str:
    lines = (each.strip() for each in str(error).splitlines())
    told = next((each for each in lines if each.startswith("WeightsUnpickler error")), "")
    return told.split(". Please use")[0][:300]


def _spoil_generators() -> None:
    """Set states that no training ends in, so that one that is not replaced can be told."""
    import numpy
    import torch

    random.seed(_UNRESTORED_SEED)
    numpy.random.seed(_UNRESTORED_SEED)
    torch.default_generator.manual_seed(_UNRESTORED_SEED)


def _require_restored(folder: Path) -> None:
    found = capture_random_states()
    _spoil_generators()
    spoilt = capture_random_states()
    lost = [name for name in ("python", "numpy", "torch") if getattr(found, name) == getattr(spoilt, name)]
    if lost:
        raise ChildFailure(
            f"The random states in {folder.name} could not be read ({', '.join(lost)}); a resume would train something else.",
            "Delete that folder and resume: the state before it is used.",
            code="damaged_state",
        )
    restore_random_states(found)


def _damaged(folder: Path, error: Exception) -> ChildFailure:
    told: Any = str(error).splitlines() or [type(error).__name__]
    return ChildFailure(
        f"The state in {folder.name} is damaged: {told[0][:200]}.",
        "Delete that folder and resume: the state before it is used.",
        code="damaged_state",
    )
