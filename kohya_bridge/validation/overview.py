"""One sheet over all checkpoints of a run: steps across, strengths down, for one prompt and seed, from what was rendered so far.

In: a run's manifest and its pictures. Out: `overview.png` beside them, made again after each grid. Unattended validation
renders one grid for each checkpoint; this is where they are seen together.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from PIL import Image

from ..files import Tree
from .grid import compose_grid
from .manifest import CellRecord, Manifest
from .pictures import open_picture, png_bytes

OVERVIEW_NAME = "overview.png"

Series = tuple[str, str, int, str]
"""Prompt, negative prompt, seed, and how it was sampled: what must be the same to compare pictures."""


def write_overview(folder: Path, manifest: Manifest, *, title: str) -> Path | None:
    """The sheet of the series that has most checkpoints; None while fewer than two were rendered."""
    chosen = [cell for cell in manifest.cells if cell.picture and not cell.trigger_off]
    steps_of: dict[Series, set[int]] = {}
    for cell in chosen:
        if cell.lora:
            steps_of.setdefault(_series(cell), set()).add(cell.lora.step)
    if not steps_of:
        return None
    counted = Counter({series: len(steps) for series, steps in steps_of.items()})
    series, checkpoints = counted.most_common(1)[0]
    if checkpoints < 2:
        return None
    cells = [cell for cell in chosen if _series(cell) == series]
    sheet = _sheet(folder, cells, sorted(steps_of[series]), title=f"{title}, {series[0]}, seed {series[2]}")
    return Tree(folder).write(OVERVIEW_NAME, png_bytes(sheet))


def _sheet(folder: Path, cells: list[CellRecord], steps: list[int], *, title: str) -> Image.Image:
    base = next((cell for cell in cells if cell.lora is None), None)
    strengths = sorted({cell.strength for cell in cells if cell.lora})
    by_place = {(cell.lora.step, cell.strength): cell for cell in cells if cell.lora}
    table = [
        [_open(folder, base), *(_open(folder, by_place.get((step, strength))) for step in steps)]
        for strength in strengths
    ]
    return compose_grid(
        table,
        rows=[f"strength {strength:g}" for strength in strengths],
        columns=["no LoRA", *(f"step {step}" for step in steps)],
        title=title,
    )


def _series(cell: CellRecord) -> Series:
    return cell.prompt, cell.negative, cell.seed, cell.sampling.model_dump_json()


def _open(folder: Path, cell: CellRecord | None) -> Image.Image | None:
    if cell is None or cell.picture is None:
        return None
    try:
        return open_picture(Tree(folder), cell.picture.file)
    except OSError:
        return None  # deleted by hand: it is shown as a gap
