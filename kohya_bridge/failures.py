"""Failures in words: what a dead child's exit code and last lines mean, and what to do about it.

In: an exit code and the end of `train.log`. Out: a cause with its fix. Foreign messages are translated here once, in one
table; what is unknown stays as it is, since the log's last lines go into the event as evidence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Cause:
    """Why a child died, as far as its remains tell. `code` is stable; the sentences are for people."""

    code: str
    problem: str = ""
    fix: str = ""


_IN_THE_LOG: tuple[tuple[str, Cause], ...] = (
    (
        r"CUDA out of memory|OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED|MemoryError",
        Cause(
            "out_of_memory",
            "Memory ran out.",
            "Choose the low_memory preset, a lower resolution or batch size 1, and free other programs.",
        ),
    ),
    (
        r"No space left on device|\[Errno 28\]|Disk quota exceeded",
        Cause("disk_full", "The disk is full.", "Free space first."),
    ),
    (
        r"ModuleNotFoundError: No module named '([\w.]+)'",
        Cause(
            "missing_package", "The package {0} is missing.", "`doctor` names the command that installs it."
        ),
    ),
    (
        r"no kernel image is available for execution on the device",
        Cause(
            "wrong_torch",
            "This build of torch has no code for this GPU.",
            "Install the torch build for the GPU's generation; `doctor` compares the two.",
        ),
    ),
)

KILLED = Cause(
    "killed",
    "It was killed from outside: by a person, or by the system because memory ran out.",
    "If memory ran out, choose the low_memory preset or close other programs.",
)


def explain_death(exit_code: int | None, log_tail: str) -> Cause:
    """The likely cause of an end that the child itself did not report."""
    for pattern, cause in _IN_THE_LOG:
        if match := re.search(pattern, log_tail):
            return Cause(cause.code, cause.problem.format(*match.groups()), cause.fix)
    return KILLED if exit_code == -9 else Cause("died")
