"""What can go wrong in a way that a person can mend, each with one sentence of problem and one of fix.

    BridgeError                 shown to the user as it is
    ├── InvalidInput            what was typed or configured is wrong; carries every problem at once
    ├── NotFound                a dataset, run, checkpoint or model of that name is not there
    ├── Refused                 a gate says no: lint errors, missing licence, missing release approval
    ├── Unavailable             an engine, a package or a device that is needed is not here
    ├── Conflict                the thing exists already, is running, or belongs to someone else
    │   └── Busy                somebody is at it just now: the same will go well in a moment
    └── StorageError            the disk is full, read-only or damaged
        └── UnusableFile        one file is a link, a pipe, too large, damaged or locked; an OSError and a ValueError too

Expected outcomes are values (`lint.Finding`, `Outcome`), not exceptions. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .redaction import LEFT_OUT, is_secret, without_secrets


class BridgeError(Exception):
    """A failure that the reader can mend. `problem` says what is wrong, `fix` what to do about it."""

    def __init__(self, problem: str, fix: str = ""):
        super().__init__(f"{problem} {fix}".strip())
        self.problem = problem
        self.fix = fix


MOST_SHOWN = 120
"""Characters of a wrong value that are shown."""


@dataclass(frozen=True)
class FieldProblem:
    """One wrong value: which field, what stood there, what is wrong with it, what to write instead."""

    field: str
    value: object
    problem: str
    fix: str

    def __str__(self) -> str:
        told = LEFT_OUT if is_secret(self.field) else without_secrets(_shown(self.value))
        place = self.field if self.value is None else f"{self.field} = {told}"
        return (
            f"{place}: {self.problem} {self.fix}".strip()
            if self.field
            else f"{self.problem} {self.fix}".strip()
        )


def _shown(value: object) -> str:
    """A value as a person types it, and of a long one the beginning."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = f"'{value}'" if isinstance(value, str) and value.isprintable() else repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


class InvalidInput(BridgeError):
    """Typed or configured values are wrong; `problems` holds all of them, so that one round of mending is enough."""

    def __init__(self, problem: str, fix: str = "", *, problems: Iterable[FieldProblem] = ()):
        self.problems = tuple(problems)
        if self.problems:
            problem = "\n".join([problem, *(f"  - {each}" for each in self.problems)])
        super().__init__(problem, fix)


class NotFound(BridgeError):
    """Nothing of that name is there; the fix lists what is."""


class Refused(BridgeError):
    """A gate said no: lint errors block training, a missing licence or approval blocks a release."""


class Unavailable(BridgeError):
    """An engine, a package or a device that this needs is not on this machine."""


class Conflict(BridgeError):
    """The thing exists already, is in use, or would overwrite something."""


class Busy(Conflict):
    """Somebody else is at it just now; asked again after `RETRY_S` seconds, the same may go well."""

    RETRY_S = 1


class StorageError(BridgeError):
    """Reading or writing failed: disk full, read-only folder, damaged file."""


class UnusableFile(StorageError, OSError, ValueError):
    """One file can't be read or written as what it should be. It is an OSError and a ValueError as well: whoever passes over
    a file that can't be opened or parsed passes over this one."""
