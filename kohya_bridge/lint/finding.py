"""What lint speaks in: settings, rules, hits and findings.

In: nothing. Out: plain frozen values. A rule is one function from what was examined to its hits, and one entry in
`catalogue.RULES`; thresholds stand in `LintSettings` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from ..dataset import Dataset, DatasetItem
from ..forbidding import Forbidding
from ..pictures import PictureFacts

Severity = Literal["error", "warning", "info"]
SEVERITIES: dict[str, Severity] = {"E": "error", "W": "warning", "I": "info"}
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class LintSettings(Forbidding):
    """Every threshold of every rule."""

    min_side: Annotated[int, Field(ge=64, le=8192)] = 768
    """Shortest side in pixels that a picture must have."""
    max_aspect: Annotated[float, Field(ge=1.0, le=20.0)] = 2.5
    """Long side divided by short side above which a picture is reported."""
    min_pictures: Annotated[int, Field(ge=1)] = 15
    """Fewer pictures are reported: a character needs variety."""
    max_pictures: Annotated[int, Field(ge=1)] = 200
    """More pictures are reported: quality beats number for one character."""
    near_duplicate_bits: Annotated[int, Field(ge=0, le=64)] = 5
    """Pictures whose 256-bit difference hashes differ in at most this many bits count as nearly the same."""


@dataclass(frozen=True)
class Hit:
    """What a rule found. `subject` is a picture's file name, another path relative to the dataset, or empty for all."""

    subject: str
    problem: str
    fix: str = ""


@dataclass(frozen=True)
class Examined:
    """Everything that rules may look at."""

    dataset: Dataset
    settings: LintSettings
    facts: Mapping[str, PictureFacts]
    trigger: str = ""

    @property
    def items(self) -> tuple[DatasetItem, ...]:
        return self.dataset.items

    def readable(self) -> Iterator[tuple[DatasetItem, PictureFacts]]:
        """Items whose picture could be decoded, with its facts."""
        for item in self.items:
            if self.facts[item.name].readable:
                yield item, self.facts[item.name]

    def captioned(self) -> Iterator[DatasetItem]:
        """Items whose caption says something."""
        return (item for item in self.items if item.caption.strip())

    def problems(self, *kinds: str) -> Iterator[tuple[str, str]]:
        """`(subject, detail)` of what reading stumbled over."""
        return ((each.subject, each.detail) for each in self.dataset.problems if each.kind in kinds)


@dataclass(frozen=True)
class Rule:
    """One check. The letter of `id` is its severity; `trainer` says which behaviour of a trainer makes it matter."""

    id: str
    title: str
    trainer: str
    fix: str
    check: Callable[[Examined], Iterable[Hit]] = field(repr=False)

    @property
    def severity(self) -> Severity:
        return SEVERITIES[self.id[0]]


@dataclass(frozen=True)
class Finding:
    """One problem of one subject. A waived finding is shown as information with the reason that a person gave."""

    rule: str
    severity: Severity
    subject: str
    problem: str
    fix: str
    waived: str = ""
