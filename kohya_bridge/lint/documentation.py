"""The catalogue and the thresholds as Markdown: what docs/lint.md holds between its markers.

In: nothing but the code. Out: text. `python -m kohya_bridge.lint.documentation` writes it into docs/lint.md; a test says when
that was forgotten.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..workspace import PACK_ROOT, write_atomically
from .catalogue import RULES
from .finding import LintSettings

DOCS_FILE = PACK_ROOT / "docs" / "lint.md"
BEGIN, END = (
    "<!-- catalogue: written by python -m kohya_bridge.lint.documentation -->",
    "<!-- end of catalogue -->",
)
GROUPS = {
    "1": "Captions", "12": "All captions together", "2": "Pictures", "23": "Pictures beside each other", "24": "Buckets",
    "3": "Files", "4": "The trigger", "5": "Metadata and policy", "6": "Versions",
}  # fmt: skip


def catalogue_markdown() -> str:
    """A heading and three lines for each rule, then the table of thresholds."""
    lines, group = [], ""
    for rule in RULES:
        key = rule.id[1:3] if rule.id[1:3] in GROUPS else rule.id[1]
        if rule.id[1:3] == "13":
            key = "12"
        if GROUPS[key] != group:
            group = GROUPS[key]
            lines += [f"## {group}", ""]
        lines += [
            f"### {rule.id} {rule.title}",
            "",
            f"{rule.check.__doc__} ({rule.severity})",
            "",
            f"* Why: {rule.trainer}",
            f"* Fix: {rule.fix}",
            *(
                [f"* Source: sd-scripts at 48d368f, library/train_util.py {rule.source}"]
                if rule.source
                else []
            ),
            "",
        ]
    lines += ["## Thresholds", "", "| setting | default | meaning |", "| --- | --- | --- |"]
    for name, field in LintSettings.model_fields.items():
        lines.append(f"| `{name}` | {field.default} | {field.description} |")
    return "\n".join(lines) + "\n"


def written(text: str) -> str:
    """`text` of docs/lint.md with the part between the markers replaced by the present catalogue."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    return pattern.sub(lambda _: f"{BEGIN}\n\n{catalogue_markdown()}\n{END}", text)


def main(file: Path = DOCS_FILE) -> None:
    write_atomically(file, written(file.read_text("utf-8")))


if __name__ == "__main__":
    main()
