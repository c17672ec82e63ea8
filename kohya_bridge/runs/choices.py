"""What was chosen for a person when a run was ordered, and why: its engine, the number format that `auto` became; and what it would take.

In: a `Check`'s sentences. Out: `choices.json` in the run folder, beside the plan whose identity it is no part of: the same run may be
asked for with other words. Runs of before have none.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from .. import json_text
from ..run_folder import RunFolder


@dataclass(frozen=True)
class Choices:
    """Sentences for a person; empty where the person chose, or where nothing was kept."""

    engine: str = ""
    mixed_precision: str = ""
    """Such as `no: this CPU has no bf16 arithmetic; bf16 would be about 40 times slower`."""
    estimate: str = ""
    """What it would take: memory and time, as a sentence."""

    def facts(self, *, is_over: bool) -> list[str]:
        """What a report says of it, one sentence each. What a run would take is no news of one that is over."""
        chosen = [f"mixed_precision {self.mixed_precision}."] if self.mixed_precision else []
        return chosen + ([self.estimate] if self.estimate and not is_over else [])


def keep_choices(run: RunFolder, choices: Choices) -> None:
    """Raises StorageError."""
    run.files.write(run.choices_file, json_text.write(asdict(choices), indent=1))


def read_choices(run: RunFolder) -> Choices:
    """Those of a run; empty ones where its file is missing or damaged, since nothing but words depends on it."""
    try:
        told = run.files.read_json(run.choices_file)
        return Choices(str(told["engine"]), str(told["mixed_precision"]), str(told.get("estimate", "")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Choices()
