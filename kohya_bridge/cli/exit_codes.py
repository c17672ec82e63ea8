"""Exit codes of the shell. The table in docs/cli.md says the same; a test keeps the two equal.

In: how a command ended. Out: a number. The codes of the trainer's own process are in `engines/child.py`.
"""

from __future__ import annotations

from .. import errors
from ..run_state import RunState

DONE = 0
NOT_WELL = 1
USAGE = 2
INVALID_INPUT = 3
NOT_FOUND = 4
REFUSED = 5
UNAVAILABLE = 6
CONFLICT = 7
STORAGE = 8
STOPPED = 9
UNEXPECTED = 70
INTERRUPTED = 130

MEANINGS = {
    DONE: "Done; for `train --wait`, `resume --wait` and `watch`: the run completed.",
    NOT_WELL: "The run failed; `lint` found errors; `validate`, `doctor`, `reproduce` or `regress` found something amiss.",
    USAGE: "The command line is wrong.",
    INVALID_INPUT: "A value in a config, a dataset or on the command line is wrong.",
    NOT_FOUND: "No dataset, run, checkpoint or model of that name.",
    REFUSED: "A gate said no: lint errors, an obstacle before the start, a missing licence or approval.",
    UNAVAILABLE: "An engine, a package or a device is missing.",
    CONFLICT: "The run is in use, has changed, or would be overwritten.",
    STORAGE: "The disk is full or can't be read or written.",
    STOPPED: "The run that was waited for was stopped.",
    UNEXPECTED: "A fault of this program; the traceback is in `logs/shell.log` of the workspace.",
    INTERRUPTED: "Ctrl-C ended the command; a run that it followed goes on.",
}

_BY_ERROR: tuple[tuple[type[errors.BridgeError], int], ...] = (
    (errors.InvalidInput, INVALID_INPUT),
    (errors.NotFound, NOT_FOUND),
    (errors.Refused, REFUSED),
    (errors.Unavailable, UNAVAILABLE),
    (errors.Conflict, CONFLICT),
    (errors.StorageError, STORAGE),
)


def of_error(error: errors.BridgeError) -> int:
    """The code for an error that a person can mend."""
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), NOT_WELL)


def of_state(state: RunState) -> int:
    """The code for how a run ended."""
    return {"completed": DONE, "stopped": STOPPED}.get(state.status, NOT_WELL)
