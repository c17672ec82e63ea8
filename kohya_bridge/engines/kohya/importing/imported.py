"""What came of a foreign file: the request, and every field of the file with what became of it and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ....counted import counted
from ....plan import TrainingRequest

Fate = Literal["carried", "changed", "default", "left"]
HEADER = ("field", "theirs", "ours", "why")


@dataclass(frozen=True)
class Row:
    """One field. `fate`: carried as it is; changed; default: the file says nothing, and `theirs` is what its origin does then; left
    behind, then `ours` is None. `why` is a sentence, and empty for what was carried as it is."""

    name: str
    theirs: Any
    ours: Any
    why: str
    fate: Fate

    def cells(self) -> tuple[str, str, str, str]:
        """The row as text: `-` where there is no value."""
        return self.name, _shown(self.theirs), _shown(self.ours), self.why


@dataclass(frozen=True)
class Imported:
    """A request made from a foreign file."""

    request: TrainingRequest
    source: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    """Sentences on the whole."""

    def named(self, fate: Fate) -> tuple[Row, ...]:
        """Rows of one fate."""
        return tuple(row for row in self.rows if row.fate == fate)

    @property
    def carried(self) -> tuple[str, ...]:
        """Names of what the request holds because the file says so."""
        return tuple(sorted({row.name for row in (*self.named("carried"), *self.named("changed"))}))

    @property
    def left(self) -> tuple[Row, ...]:
        """What was left behind."""
        return self.named("left")

    def headline(self) -> str:
        """One sentence."""
        return (
            f"{self.source}: {counted(len(self.carried), 'option')} carried, {len(self.named('changed'))} of them changed; "
            f"{len(self.named('default'))} that it leaves out are set as its origin would; {len(self.left)} left behind."
        )

    def table(self) -> list[tuple[str, str, str, str]]:
        """Everything that a person should look at, as rows below HEADER: not what was carried as it is. Fields that were left behind for one
        reason share a row."""
        rows = [row.cells() for row in (*self.named("changed"), *self.named("default"))]
        by_reason: dict[str, list[Row]] = {}
        for row in self.left:
            by_reason.setdefault(row.why, []).append(row)
        return rows + [_together(group) for group in by_reason.values()]

    def to_json(self) -> dict[str, Any]:
        return {
            "request": self.request.model_dump(mode="json", exclude_defaults=True),
            "rows": [asdict(row) for row in self.rows],
            "left": [asdict(row) for row in self.left],
            "notes": list(self.notes),
        }


def _together(rows: Sequence[Row]) -> tuple[str, str, str, str]:
    if len(rows) == 1:
        return rows[0].cells()
    return ", ".join(row.name for row in rows), "...", "-", rows[0].why


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    text = " ".join(str(each) for each in value) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
