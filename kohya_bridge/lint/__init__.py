"""Lint: what is wrong with a dataset, why a trainer would trip over it, and what to do.

In: a dataset that was read, settings. Out: a `LintReport`. Errors block training, warnings and information don't. It changes
nothing; `repair.py` mends what can be mended.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..dataset import Dataset
from .catalogue import RULES
from .examine import Interrupted, examine_pictures
from .finding import Examined, Finding, LintSettings
from .report import LintReport
from .sheet import contact_sheet

__all__ = ["Finding", "Interrupted", "LintReport", "LintSettings", "contact_sheet", "lint_dataset"]


def lint_dataset(
    dataset: Dataset,
    *,
    settings: LintSettings | None = None,
    trigger: str = "",
    cache_dir: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> LintReport:
    """Apply every rule of the catalogue.

    `trigger` replaces the one that metadata.yaml names. With `cache_dir`, pictures that have not changed are not decoded
    again. `on_progress(done, total)` counts pictures.

    Raises:
        Interrupted: `should_stop` said so while pictures were decoded.
    """
    facts = examine_pictures(dataset, cache_dir=cache_dir, on_progress=on_progress, should_stop=should_stop)
    seen = Examined(dataset, settings or LintSettings(), facts, trigger or dataset.trigger)
    findings = [
        _waived(
            Finding(rule.id, rule.severity, hit.subject, hit.problem, hit.fix or rule.fix), dataset
        )
        for rule in RULES
        for hit in rule.check(seen)
    ]  # fmt: skip
    return LintReport(dataset.slug, len(dataset.items), tuple(findings))


def _waived(finding: Finding, dataset: Dataset) -> Finding:
    """A finding that metadata.yaml accepts becomes information; it is never dropped."""
    for waiver in dataset.metadata.waivers:
        if waiver.rule == finding.rule and waiver.subject in ("", finding.subject):
            return Finding(finding.rule, "info", finding.subject, finding.problem, finding.fix, waiver.reason)
    return finding
