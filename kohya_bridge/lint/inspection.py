"""One look at a dataset: mend it if that was asked for, lint it, and see it with a trainer's eyes.

In: a dataset and what to do with it. Out: an `Inspection` with everything that the Dataset Lint node and the `lint` verb show.
It writes nothing but repairs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..architectures.base import Architecture
from ..counted import counted
from ..dataset import Dataset
from ..datasets.trainer_view import COLUMNS, TrainerView, view_dataset, view_rows
from ..errors import InvalidInput
from ..forbidding import parse
from ..settings import TrainingSettings
from . import LintReport, LintSettings, examine, judge
from .picture_models import PictureModels
from .repair import WHITE, plan_repairs, repair_dataset, undo_repairs
from .repair_journal import Repair
from .repair_pictures import Colour

Repairing = Literal["off", "list", "mend", "undo"]


@dataclass(frozen=True)
class Inspection:
    """What was found. `dataset` is as it is after repairs; `repairs` are done where `stamp` names their folder below
    `originals/`, else only listed; `views` are empty unless an engine was named."""

    dataset: Dataset
    report: LintReport
    views: tuple[TrainerView, ...] = ()
    repairing: Repairing = "off"
    repairs: tuple[Repair, ...] = ()
    stamp: str = ""

    def repairs_text(self) -> str:
        """What was mended or could be, a line for each; nothing when nobody asked."""
        if self.repairing == "undo":
            return f"The repair {self.stamp} is undone." if self.stamp else "The newest repair is undone."
        if self.repairing == "off":
            return ""
        if not self.repairs:
            return "There is nothing that could be mended without a decision of yours."
        lines = [f"{each.rule} {each.subject}: {each.action}" for each in self.repairs]
        if self.stamp:
            lines.append(
                f"{counted(len(lines), 'repair')} done; the originals are in originals/{self.stamp}, and undoing puts them back."
            )
        else:
            lines.append(f"{counted(len(lines), 'repair is', 'repairs are')} possible; nothing was changed.")
        return "\n".join(lines)

    def text(self) -> str:
        """The verdict, what was mended, and the findings, as plain text."""
        verdict, _, findings = self.report.text().partition("\n")
        return "\n\n".join(part for part in (verdict, self.repairs_text(), findings.strip("\n")) if part)

    def table(self) -> str:
        """The trainer's view as a Markdown table; empty without an engine."""
        if not self.views:
            return ""
        rows = [list(COLUMNS), ["---"] * len(COLUMNS), *view_rows(self.views)]
        return "\n".join("| " + " | ".join(_cell(each) for each in row) + " |" for row in rows)


def inspect_dataset(
    dataset: Dataset,
    *,
    repairing: Repairing = "off",
    stamp: str = "",
    background: Colour = WHITE,
    engine: str | None = None,
    trigger: str = "",
    settings: LintSettings | None = None,
    training: TrainingSettings | None = None,
    tokenizer_dir: Path | None = None,
    of_family: Architecture | None = None,
    cache_dir: Path | None = None,
    models: PictureModels | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Inspection:
    """Mend, lint and view a dataset. Without `training`, bucket rules are silent and the view takes the default numbers.

    `of_family` is the family that will be trained, None where nobody knows: then captions are read as by CLIP. `stamp` names the repair to undo; empty means the newest that this machine did.

    Raises:
        Interrupted: `should_stop` said so; repairs are either all done or not begun.
        StorageError, Conflict, NotFound, Refused: a repair can't be done or undone.
    """
    repairs: tuple[Repair, ...] = ()
    if repairing == "list":
        repairs = plan_repairs(dataset, background=background, cache_dir=cache_dir)
    elif repairing == "mend":
        done = repair_dataset(dataset, background=background, cache_dir=cache_dir)
        dataset, repairs, stamp = done.dataset, done.repairs, done.stamp
    elif repairing == "undo":
        dataset = undo_repairs(dataset, stamp=stamp)
    seen, notes = examine(
        dataset, settings=settings, trigger=trigger, training=training, tokenizer_dir=tokenizer_dir,
        of_family=of_family, engine=engine, cache_dir=cache_dir, models=models, on_progress=on_progress, should_stop=should_stop,
    )  # fmt: skip
    views = view_dataset(dataset, seen.facts, seen.training, engine=engine, reading=seen.reading) if engine else ()  # fmt: skip
    return Inspection(dataset, judge(seen, notes), views, repairing, repairs, stamp)


def training_at(resolution: int, values: Mapping[str, Any] | None = None) -> TrainingSettings | None:
    """Numbers of a training at that resolution (0: not said), with `values` of its own on top; None when nothing is said.

    Raises:
        InvalidInput: a resolution or a value that can't be.
    """
    if not resolution and not values:
        return None
    if resolution and (not 64 <= resolution <= 4096 or resolution % 8):
        raise InvalidInput(
            f"{resolution} is not a training resolution.", "Use a multiple of 8 from 64 to 4096."
        )
    sizes = (
        {"resolution": resolution, "min_bucket_reso": max(64, resolution // 2), "max_bucket_reso": resolution * 2}
        if resolution
        else {}
    )  # fmt: skip
    return parse(TrainingSettings, {**sizes, **(values or {})}, what="the training settings")


def as_colour(text: str) -> Colour:
    """`#RRGGBB` as three numbers. Raises InvalidInput."""
    digits = text.strip().removeprefix("#")
    if len(digits) != 6 or any(letter not in "0123456789abcdefABCDEF" for letter in digits):
        raise InvalidInput(f"{text!r} is not a colour.", "Write it as #RRGGBB, such as #ffffff.")
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
