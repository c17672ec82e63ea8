"""The report of a lint: findings with their texts, and how to show them as text or JSON.

In: findings. Out: `LintReport`. It draws nothing; `sheet.py` and `page.py` do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from .. import json_text
from ..counted import counted
from .catalogue import rule
from .finding import Finding, in_number

_ORDER = {"error": 0, "warning": 1, "info": 2}


def how_to_waive(rules: Iterable[str]) -> str:
    """How a person who knows better lets errors of these rules be."""
    named = ", ".join(f"{{rule: {each}, reason: why}}" for each in dict.fromkeys(rules))
    return f"To accept a finding as it is, add `waivers: [{named}]` with your reason to the dataset's metadata.yaml."


@dataclass(frozen=True)
class LintReport:
    """What lint found in one dataset; `blocks` says whether training has to wait."""

    slug: str
    images: int
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def blocks(self) -> bool:
        return any(each.severity == "error" for each in self.findings)

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(each for each in self.findings if each.severity == "error")

    def counts(self) -> dict[str, int]:
        """Number of findings by severity."""
        found: Counter[str] = Counter(each.severity for each in self.findings)
        return {severity: found[severity] for severity in _ORDER}

    def by_rule(self) -> dict[str, list[Finding]]:
        """Findings under their rule, errors first, rules in the order of their ids."""
        ordered = sorted(self.findings, key=lambda each: (_ORDER[each.severity], each.rule[1:], each.subject))
        grouped: dict[str, list[Finding]] = {}
        for each in ordered:
            grouped.setdefault(each.rule, []).append(each)
        return grouped

    def headline(self) -> str:
        """Such as `char_wren: 24 pictures, 1 error, 3 warnings. Training has to wait.`"""
        counts = self.counts()
        said = [in_number(severity, n) for severity, n in counts.items() if n]
        verdict = "Training has to wait." if self.blocks else "Ready to train."
        return (
            f"{self.slug}: {counted(self.images, 'picture')}, {', '.join(said) or 'no findings'}. {verdict}"
        )

    def text(self, *, most_subjects: int = 12) -> str:
        """The report as plain text: each rule once, with its subjects, why it matters and what to do."""
        lines = [self.headline()]
        for id, found in self.by_rule().items():
            known = rule(id)
            lines += ["", f"{id} {known.title if known else ''} ({found[0].severity}, {len(found)})"]
            for each in found[:most_subjects]:
                where = f"{each.subject}: " if each.subject else ""
                waived = f" [waived: {each.waived}]" if each.waived else ""
                lines.append(one_line(f"    {where}{each.problem}{waived}"))
            if len(found) > most_subjects:
                lines.append(f"    ... and {len(found) - most_subjects} more")
            if known:
                lines.append(f"  Why: {known.trainer}")
            lines += [f"  Fix: {fix}" for fix in dict.fromkeys(each.fix for each in found[:3])]
        lines += ["", how_to_waive(each.rule for each in self.errors)] if self.blocks else []
        lines += ["", *self.notes] if self.notes else []
        return "\n".join(lines)

    def to_json(self) -> str:
        """The report for machines: counts, and each finding with all its fields."""
        data: dict[str, Any] = {
            "dataset": self.slug,
            "images": self.images,
            "blocks": self.blocks,
            "counts": self.counts(),
            "findings": [asdict(each) for each in self.findings],
            "notes": list(self.notes),
        }
        return json_text.write(data, indent=1)


def one_line(text: str) -> str:
    """Names and captions are other people's text: no line break or control character of theirs reaches the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
