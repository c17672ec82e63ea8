"""Lint: what is wrong with a dataset, why a trainer would trip over it, and what to do.

In: a dataset that was read, settings. Out: a `LintReport`. Errors block training, warnings and information don't. It changes
nothing; `repair.py` mends what can be mended.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

from ..architectures.base import Architecture
from ..building.character_options import load_options
from ..dataset import Dataset
from ..datasets.caption_tokens import reading
from ..datasets.dataset_lock import Lock, readable_lock
from ..datasets.dataset_metadata import METADATA_NAME, read_metadata
from ..errors import BridgeError
from ..settings import TrainingSettings
from ..workspace import Workspace, file_sha256
from .catalogue import RULES
from .examine import Interrupted, examine_pictures
from .finding import Examined, Finding, LintSettings
from .picture_models import Looks, PictureModels, look_at
from .report import LintReport
from .sheet import contact_sheet

__all__ = [
    "Examined",
    "Finding",
    "Interrupted",
    "LintReport",
    "LintSettings",
    "contact_sheet",
    "examine",
    "judge",
    "lint_dataset",
]

MAX_SIBLINGS = 500


def lint_dataset(
    dataset: Dataset,
    *,
    settings: LintSettings | None = None,
    trigger: str = "",
    training: TrainingSettings | None = None,
    tokenizer_dir: Path | None = None,
    of_family: Architecture | None = None,
    engine: str | None = None,
    cache_dir: Path | None = None,
    models: PictureModels | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> LintReport:
    """Apply every rule of the catalogue.

    `trigger` replaces the one that metadata.yaml names. With `training`, rules about buckets and cut-off captions speak of
    its numbers. `tokenizer_dir` (ComfyUI's `sd1_tokenizer`) lets tokens be counted, as `of_family` does it for that `engine` (None:
    as CLIP). With `cache_dir`, pictures that have not
    changed are not decoded again. With `models` (`picture_models.find_models`) these look at the pictures too; notes say
    which are missing. `on_progress(done, total)` counts pictures, once for decoding and once for each model.

    Raises:
        Interrupted: `should_stop` said so while pictures were looked at.
    """
    seen, notes = examine(
        dataset, settings=settings, trigger=trigger, training=training, tokenizer_dir=tokenizer_dir,
        of_family=of_family, engine=engine, cache_dir=cache_dir, models=models, on_progress=on_progress, should_stop=should_stop,
    )  # fmt: skip
    return judge(seen, notes)


def judge(seen: Examined, notes: tuple[str, ...] = ()) -> LintReport:
    """The report on what `examine` gave."""
    dataset = seen.dataset
    findings = [
        _waived(Finding(rule.id, rule.severity, hit.subject, hit.problem, hit.fix or rule.fix), dataset)
        for rule in RULES
        for hit in rule.check(seen)
    ]
    return LintReport(dataset.slug, len(dataset.items), tuple(findings), notes)


def examine(
    dataset: Dataset,
    *,
    settings: LintSettings | None = None,
    trigger: str = "",
    training: TrainingSettings | None = None,
    tokenizer_dir: Path | None = None,
    of_family: Architecture | None = None,
    engine: str | None = None,
    cache_dir: Path | None = None,
    models: PictureModels | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> tuple[Examined, tuple[str, ...]]:
    """Everything that rules look at, and notes on what could not be looked at. Parameters as for `lint_dataset`."""
    pictures = len(dataset.items)
    total = pictures * (1 + len(models.found if models else ()))
    facts = examine_pictures(
        dataset,
        cache_dir=cache_dir,
        on_progress=(lambda done, _: on_progress(done, total)) if on_progress else None,
        should_stop=should_stop,
    )
    read = reading(of_family, tokenizer_dir, engine=engine)
    notes: tuple[str, ...] = (read.note,) if read.note else ()
    looks: dict[str, Looks] = {}
    if models:
        counted = itertools.count(pictures + 1)

        def on_look() -> None:
            if on_progress:
                on_progress(next(counted), total)
            if should_stop and should_stop():
                raise Interrupted("Lint was stopped.", "Run it again; it goes on where it stopped.")

        looks, missing = look_at(dataset, models, cache_dir=cache_dir, on_look=on_look)
        notes += missing
    lock, lock_problem = _lock(dataset)
    seen = Examined(
        dataset, settings or LintSettings(), facts, trigger or dataset.trigger,
        training=training or TrainingSettings(), training_known=training is not None, reading=read,
        siblings=_siblings(dataset), mapped_triggers=_mapped_triggers(dataset), lock=lock, lock_problem=lock_problem,
        hashes=_hashes(dataset, cache_dir) if lock.versions else {}, looks=looks,
    )  # fmt: skip
    return seen, notes


def _lock(dataset: Dataset) -> tuple[Lock, str]:
    try:
        return readable_lock(dataset.dir)
    except BridgeError as error:
        return Lock(), error.problem


def _hashes(dataset: Dataset, cache_dir: Path | None) -> dict[str, str]:
    """SHA-256 by file name. A picture that went away meanwhile has none."""
    found = {}
    for item in dataset.items:
        try:
            found[item.name] = file_sha256(item.file, cache_dir=cache_dir)
        except OSError:
            continue
    return found


def _siblings(dataset: Dataset) -> dict[str, str]:
    """Trigger of each dataset in the same folder; one that can't be read has none."""
    found = {}
    for file in sorted(dataset.dir.parent.glob(f"*/{METADATA_NAME}"))[:MAX_SIBLINGS]:
        slug = file.parent.name
        if slug != dataset.slug and file.is_file():
            try:
                found[slug] = read_metadata(file).lora_tag
            except (BridgeError, OSError):
                continue
    return found


def _mapped_triggers(dataset: Dataset) -> frozenset[str]:
    """Triggers of the builder's archetypes, with the workspace's own where the dataset lies in one."""
    try:
        options = load_options(Workspace(dataset.dir.parent.parent.parent))
    except (BridgeError, OSError):  # the builder says what is wrong with the file
        options = load_options()
    return frozenset(options.lora_trigger.values())


def _waived(finding: Finding, dataset: Dataset) -> Finding:
    """A finding that metadata.yaml accepts becomes information; it is never dropped."""
    for waiver in dataset.metadata.waivers:
        if waiver.rule == finding.rule and waiver.subject in ("", finding.subject):
            return Finding(finding.rule, "info", finding.subject, finding.problem, finding.fix, waiver.reason)
    return finding
