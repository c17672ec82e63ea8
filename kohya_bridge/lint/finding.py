"""What lint speaks in: settings, rules, hits and findings.

In: nothing. Out: plain frozen values. A rule is one function from what was examined to its hits, and one entry in
`catalogue.RULES`; thresholds stand in `LintSettings` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field

from ..counted import counted
from ..dataset import Dataset, DatasetItem
from ..datasets.caption_tokens import CaptionTokens, Reading
from ..datasets.dataset_lock import Lock
from ..datasets.pictures import PictureFacts
from ..forbidding import Forbidding
from ..settings import TrainingSettings
from .picture_models import Looks

Severity = Literal["error", "warning", "info"]
SEVERITIES: dict[str, Severity] = {"E": "error", "W": "warning", "I": "info"}


def in_number(severity: str, number: int) -> str:
    """Such as `1 error`, `3 warnings` and `2 info`."""
    return counted(number, severity, severity if severity == "info" else "")


Share = Annotated[float, Field(ge=0.0, le=1.0)]


class LintSettings(Forbidding):
    """Every threshold of every rule."""

    min_side: Annotated[int, Field(ge=64, le=8192)] = 768
    """Shortest side in pixels that is advised. What is too small to train is told by the training's own resolution."""
    max_aspect: Annotated[float, Field(ge=1.0, le=20.0)] = 2.5
    """Long side divided by short side above which a picture is reported."""
    min_pictures: Annotated[int, Field(ge=1)] = 15
    """Fewer pictures are reported: a character needs variety."""
    max_pictures: Annotated[int, Field(ge=1)] = 200
    """More pictures are reported: quality beats number for one character."""
    near_duplicate_bits: Annotated[int, Field(ge=0, le=64)] = 10
    """Pictures whose 256-bit difference hashes differ in at most this many bits count as nearly the same."""
    blur_share: Share = 0.12
    """A picture with less than this share of the median sharpness counts as blurred."""
    min_brightness: Annotated[float, Field(ge=0, le=255)] = 25.0
    """Mean grey value below which a picture counts as dark."""
    max_brightness: Annotated[float, Field(ge=0, le=255)] = 250.0
    """Mean grey value above which a picture counts as bright."""
    min_detail: Annotated[float, Field(ge=0, le=8)] = 0.8
    """Entropy of grey values in bits below which a picture counts as empty."""
    odd_size_factor: Annotated[float, Field(ge=1, le=100)] = 6.0
    """How many times more or fewer pixels than the median a picture may have."""
    max_blocks: Annotated[float, Field(ge=1, le=100)] = 1.8
    """How many times more small steps on the 8 px grid than beside it count as visible JPEG blocks."""
    min_fineness: Share = 0.02
    """Share of contrast that halving must lose; less means that the picture was enlarged."""
    max_border: Share = 0.04
    """Share of height or width that plain bars may fill."""
    max_crop_share: Share = 0.12
    """Share of a resized picture that its bucket may cut off."""
    fused_share: Share = 0.85
    """A tag in at least this share of the captions fuses with the trigger."""
    common_share: Share = 0.6
    """A tag in at least this share of the captions is mentioned."""
    near_caption_share: Share = 0.9
    """Captions that share this share of their words count as nearly the same."""
    max_nudity_sfw: Share = 0.25
    """With models: what they may say of nudity, 0 to 1, in a set rated sfw. Below 0.2 open_nsfw is sure that all is well."""
    max_nudity_suggestive: Share = 0.8
    """The same in a set rated suggestive. Above 0.8 open_nsfw is sure of nudity."""
    same_likeness: Share = 0.96
    """With models: likeness from which two pictures count as the same one."""
    unlike_share: Share = 0.75
    """With models: share of the typical likeness below which a picture counts as unlike the others."""
    min_distinct_tags: Annotated[int, Field(ge=0)] = 12
    """Fewer different tags over a whole set are mentioned."""


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
    training: TrainingSettings = field(default_factory=TrainingSettings)
    training_known: bool = False
    """Whether `training` is what a person chose, so that rules about buckets may speak."""
    reading: Reading = field(default_factory=Reading)
    """How the family that is trained reads captions."""
    siblings: Mapping[str, str] = field(default_factory=dict)
    """Trigger of each other dataset beside this one, by slug."""
    mapped_triggers: frozenset[str] = frozenset()
    """Triggers of the builder's archetypes."""
    lock: Lock = field(default_factory=Lock)
    lock_problem: str = ""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each picture file by name; only where there is a version to compare with."""
    looks: Mapping[str, Looks] = field(default_factory=dict)
    """What models say of each picture by name; empty where none was asked."""

    @property
    def tokens(self) -> CaptionTokens | None:
        """What counts tokens; None where nothing can."""
        return self.reading.tokens

    @cached_property
    def other_triggers(self) -> frozenset[str]:
        """Triggers of other characters: those of the other datasets and of the builder's archetypes."""
        return frozenset(
            {*self.siblings.values(), *self.mapped_triggers} - {"", self.trigger, self.dataset.trigger}
        )

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
    source: str = ""
    """Lines of sd-scripts' library/train_util.py that `trainer` is read from: for the documentation, never in a report."""

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
