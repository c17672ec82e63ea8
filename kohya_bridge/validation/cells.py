"""Which pictures a validation grid needs, and where each of them stands.

In: checkpoints, prompts, strengths and seeds, and which of these lie on the rows and which on the columns. Out: a
`GridPlan`: labelled rows and columns, and the cells with their addresses ("B2" is column B, row 2). Strength 0 means "no
LoRA", is always there, and is one picture whatever the checkpoint: it is rendered once and shown wherever it belongs.
Pure: renders nothing, reads nothing.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from dataclasses import asdict, dataclass
from typing import Any

from .. import json_text
from ..counted import counted
from ..errors import FieldProblem, InvalidInput
from ..trigger import without

DIMENSIONS = ("checkpoint", "prompt", "strength", "seed")
MOST_CELLS = 400
MOST_STRENGTH = 10.0


@dataclass(frozen=True)
class Checkpoint:
    """A LoRA file that a grid judges. `file` is a name relative to its run folder, never a path of this machine."""

    step: int
    file: str
    sha256: str


@dataclass(frozen=True)
class Prompt:
    """One prompt of a grid. `trigger_off` marks the twin of a prompt from which the trigger was taken out."""

    text: str
    negative: str = ""
    trigger_off: bool = False


@dataclass(frozen=True)
class Render:
    """One picture to render. `checkpoint` is None for the base model alone; `strength` is 0 then."""

    prompt: Prompt
    seed: int
    checkpoint: Checkpoint | None
    strength: float

    @property
    def key(self) -> str:
        """16 hex digits of everything above: the same picture has the same key in every grid."""
        facts: dict[str, Any] = asdict(self)
        if self.checkpoint:
            facts["checkpoint"] = self.checkpoint.sha256
        text = json_text.write(facts, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


@dataclass(frozen=True)
class Cell:
    """Where a render stands. Rows and columns count from 0; one render can stand in several cells."""

    row: int
    column: int
    render: Render

    @property
    def address(self) -> str:
        return f"{column_letters(self.column)}{self.row + 1}"


@dataclass(frozen=True)
class GridPlan:
    """A grid before its pictures exist. `cells` run row by row."""

    row_labels: tuple[str, ...]
    column_labels: tuple[str, ...]
    cells: tuple[Cell, ...]
    common: tuple[str, ...] = ()
    """Labels of what is the same in every cell; they belong into the title."""

    @property
    def renders(self) -> tuple[Render, ...]:
        """Every picture that must be rendered, once each, ordered so that a checkpoint is loaded once."""
        unique = {cell.render.key: cell.render for cell in self.cells}
        return tuple(sorted(unique.values(), key=_load_order))

    def at(self, address: str) -> Cell:
        """The cell of that address. Raises InvalidInput naming the corners."""
        for cell in self.cells:
            if cell.address == address.strip().upper():
                return cell
        raise InvalidInput(
            f"The grid has no cell {address!r}.", f"Cells run from A1 to {self.cells[-1].address}."
        )


def plan_cells(
    *,
    checkpoints: tuple[Checkpoint, ...],
    prompts: tuple[Prompt, ...],
    strengths: tuple[float, ...] = (1.0,),
    seeds: tuple[int, ...] = (0,),
    rows: tuple[str, ...] = ("prompt", "seed"),
    columns: tuple[str, ...] = ("checkpoint", "strength"),
    trigger: str = "",
    trigger_off: bool = False,
) -> GridPlan:
    """The grid of all combinations. `rows` and `columns` share out `DIMENSIONS`; the last-named one varies fastest.

    Strength 0 is added when it is not among `strengths`. With `trigger_off` each seed also gets the first prompt without
    `trigger`, to show whether the LoRA leaks into prompts that do not ask for it.

    Raises:
        InvalidInput: nothing to show, too much to show, or values that can't be; all problems at once.
    """
    _check(checkpoints, prompts, strengths, seeds, rows, columns)
    shown_prompts = _with_trigger_off(prompts, trigger) if trigger_off else prompts
    values: dict[str, tuple[Any, ...]] = {
        "checkpoint": tuple(dict.fromkeys(checkpoints)) or (None,),
        "prompt": tuple(dict.fromkeys(shown_prompts)),
        "strength": tuple(dict.fromkeys([0.0, *(float(each) for each in strengths)])),
        "seed": tuple(dict.fromkeys(seeds)),
    }
    if not checkpoints:
        values["strength"] = (0.0,)
    row_lines, column_lines = _lines(rows, values), _lines(columns, values)
    if len(row_lines) * len(column_lines) > MOST_CELLS:
        raise InvalidInput(
            f"The grid would have {len(row_lines)} x {counted(len(column_lines), 'cell')}; the most is {MOST_CELLS}.",
            "Take fewer checkpoints, prompts, strengths or seeds.",
        )
    cells = tuple(
        Cell(row, column, _render({**row_line, **column_line}))
        for row, row_line in enumerate(row_lines)
        for column, column_line in enumerate(column_lines)
    )
    varying = {name for name, choices in values.items() if len(choices) > 1}
    return GridPlan(
        row_labels=tuple(_label(line, varying) for line in row_lines),
        column_labels=tuple(_label(line, varying) for line in column_lines),
        cells=cells,
        common=tuple(
            _word(name, values[name][0])
            for name in DIMENSIONS
            if name not in varying and values[name][0] is not None
        ),
    )


def column_letters(column: int) -> str:
    """A for column 0, Z for 25, AA for 26, as in a spreadsheet."""
    letters = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def _with_trigger_off(prompts: tuple[Prompt, ...], trigger: str) -> tuple[Prompt, ...]:
    bare = without(prompts[0].text, trigger)
    if bare == prompts[0].text:
        return prompts
    return (*prompts, Prompt(bare, prompts[0].negative, trigger_off=True))


def _lines(names: tuple[str, ...], values: dict[str, tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Every combination of the named dimensions; those that differ in a checkpoint at strength 0 only are one line."""
    lines: dict[tuple[Any, ...], dict[str, Any]] = {}
    for combination in itertools.product(*(values[name] for name in names)):
        line = dict(zip(names, combination, strict=True))
        if "checkpoint" in line and line.get("strength") == 0:
            line["checkpoint"] = None
        lines.setdefault(tuple(line.values()), line)
    return list(lines.values())


def _render(values: dict[str, Any]) -> Render:
    none = values["strength"] == 0 or values["checkpoint"] is None
    return Render(
        prompt=values["prompt"],
        seed=values["seed"],
        checkpoint=None if none else values["checkpoint"],
        strength=0.0 if none else values["strength"],
    )


def _label(line: dict[str, Any], varying: set[str]) -> str:
    return "\n".join(
        _word(name, value) for name, value in line.items() if name in varying and value is not None
    )


def _word(name: str, value: Any) -> str:
    if name == "checkpoint":
        return f"step {value.step}"
    if name == "strength":
        return "no LoRA" if value == 0 else f"strength {value:g}"
    if name == "seed":
        return f"seed {value}"
    return f"trigger off: {value.text}" if value.trigger_off else str(value.text)


def _load_order(render: Render) -> tuple[Any, ...]:
    step = render.checkpoint.step if render.checkpoint else -1
    return (step, render.strength, render.prompt.trigger_off, render.prompt.text, render.seed)


def _check(
    checkpoints: tuple[Checkpoint, ...],
    prompts: tuple[Prompt, ...],
    strengths: tuple[float, ...],
    seeds: tuple[int, ...],
    rows: tuple[str, ...],
    columns: tuple[str, ...],
) -> None:
    problems = []
    if not prompts or not all(prompt.text.strip() for prompt in prompts):
        problems.append(
            FieldProblem("prompts", None, "a prompt is missing or empty.", "Write one prompt a line.")
        )
    if not seeds:
        problems.append(FieldProblem("seeds", None, "there is none.", "Write one or more whole numbers."))
    for seed in seeds:
        if not 0 <= seed < 2**64:
            problems.append(FieldProblem("seeds", seed, "is out of range.", "Use 0 to 18446744073709551615."))
    for strength in strengths:
        if not math.isfinite(strength) or abs(strength) > MOST_STRENGTH:
            problems.append(
                FieldProblem(
                    "strengths", strength, "it is out of range.", f"Use numbers within ±{MOST_STRENGTH:g}."
                )
            )
    if sorted((*rows, *columns)) != sorted(DIMENSIONS):
        problems.append(
            FieldProblem(
                "rows and columns",
                f"{', '.join(rows)} | {', '.join(columns)}",
                "each dimension must stand on exactly one of the two.",
                f"Share out {', '.join(DIMENSIONS)}.",
            )
        )
    if problems:
        raise InvalidInput(
            "The validation grid can't be laid out:", "Correct these values.", problems=problems
        )
