"""Saving a rendered grid: its pictures, the labelled sheet, and the manifest, in the run's validation folder.

In: a `GridPlan`, its pictures, how they were sampled. Out: `cells/<key>.png` with the generation data inside, one
`grid-*.png`, `overview.png`, `validation_manifest.json`. The ComfyUI node and the shell save through this one function, so both write the
same names and the same labels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ..files import Tree
from .cells import GridPlan, Render
from .grid import compose_plan
from .manifest import (
    MANIFEST_NAME,
    CellRecord,
    GridRecord,
    Manifest,
    PictureFile,
    Sampling,
    cell_key,
    lora_file,
    update_manifest,
)
from .measures import GridMeasures
from .overview import write_overview
from .pictures import open_picture, png_bytes
from .strength import recommend_strength


@dataclass(frozen=True)
class SavedGrid:
    """A grid on disk. `picture` is the labelled sheet; `manifest` what the whole file says now."""

    picture: Image.Image
    file: Path
    manifest_file: Path
    manifest: Manifest
    overview_file: Path | None = None
    """Checkpoints against strengths over everything rendered so far; None for a single checkpoint."""


def save_grid(
    folder: Path,
    plan: GridPlan,
    pictures: dict[str, Image.Image],
    *,
    slug: str,
    run_id: str,
    sampling: Sampling,
    measures: GridMeasures | None = None,
    title: str = "",
    texts: dict[str, str] | None = None,
) -> SavedGrid:
    """Write everything below `folder` (the run's validation folder). The same plan and sampling re-use their names.

    `texts` go into each cell's PNG as they are: ComfyUI's `prompt` and `workflow`, so that a cell can be opened as one.

    Raises:
        InvalidInput, Conflict: the manifest that is there is damaged, foreign or held by another process.
        StorageError: the disk is full or read-only.
    """
    records = {
        each.key: _save_cell(folder, each, pictures.get(each.key), sampling, measures, texts or {})
        for each in plan.renders
    }
    sheet = compose_plan(plan, pictures, title=title or slug, footer=_footer(sampling))
    picture = _write_png(
        folder, _grid_name(plan, records), sheet, {"Title": title or slug, "Software": "wizdroid"}
    )
    grid = GridRecord(
        picture=picture,
        rows=list(plan.row_labels),
        columns=list(plan.column_labels),
        cells={each.address: records[each.render.key].key for each in plan.cells},
        measures=_measures_json(plan, measures) if measures else {},
    )
    manifest_file = folder / MANIFEST_NAME
    manifest = update_manifest(manifest_file, slug=slug, run_id=run_id, cells=records.values(), grids=[grid])
    overview_file = write_overview(folder, manifest, title=title or slug)
    return SavedGrid(sheet, folder / picture.file, manifest_file, manifest, overview_file)


def find_rendered(folder: Path, plan: GridPlan, sampling: Sampling) -> dict[str, Image.Image]:
    """Pictures of this plan that were rendered before in just this way and are intact: no need to render them again."""
    found = {}
    for each in plan.renders:
        try:
            found[each.key] = open_picture(Tree(folder), f"cells/{cell_key(each, sampling)}.png")
        except OSError:
            continue  # not there, or damaged: it is rendered and written again
    return found


def generation_text(render: Render, sampling: Sampling) -> str:
    """The `parameters` text that Civitai and other tools read out of a PNG."""
    lora = f"<lora:{Path(render.checkpoint.file).stem}:{render.strength:g}>" if render.checkpoint else ""
    lines = [f"{render.prompt.text} {lora}".strip()]
    if render.prompt.negative:
        lines.append(f"Negative prompt: {render.prompt.negative}")
    lines.append(
        f"Steps: {sampling.steps}, Sampler: {sampling.sampler}, Schedule type: {sampling.scheduler}, "
        f"CFG scale: {sampling.cfg:g}, Seed: {render.seed}, Size: {sampling.width}x{sampling.height}, "
        f"Model: {Path(sampling.base_model).stem}"
    )
    return "\n".join(lines)


def _save_cell(
    folder: Path,
    render: Render,
    picture: Image.Image | None,
    sampling: Sampling,
    measures: GridMeasures | None,
    texts: dict[str, str],
) -> CellRecord:
    key = cell_key(render, sampling)
    saved = None
    if picture is not None:
        saved = _write_png(
            folder, f"cells/{key}.png", picture, {"parameters": generation_text(render, sampling), **texts}
        )
    return CellRecord(
        key=key,
        prompt=render.prompt.text,
        negative=render.prompt.negative,
        trigger_off=render.prompt.trigger_off,
        seed=render.seed,
        strength=render.strength,
        lora=lora_file(render.checkpoint),
        sampling=sampling,
        picture=saved,
        metrics=(measures.cells.get(render.key, {}) if measures else {}),
    )


def _write_png(folder: Path, name: str, picture: Image.Image, texts: dict[str, str]) -> PictureFile:
    data = png_bytes(picture, texts)
    Tree(folder).write(name, data)
    return PictureFile(file=name, sha256=hashlib.sha256(data).hexdigest())


def _grid_name(plan: GridPlan, records: dict[str, CellRecord]) -> str:
    steps = sorted({each.render.checkpoint.step for each in plan.cells if each.render.checkpoint})
    shown = "base" if not steps else "-".join(f"{step:08d}" for step in dict.fromkeys((steps[0], steps[-1])))
    identity = ",".join(f"{each.address}={records[each.render.key].key}" for each in plan.cells)
    return f"grid-step{shown}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}.png"


def _footer(sampling: Sampling) -> str:
    return (
        f"{sampling.sampler}, {sampling.scheduler}, {sampling.steps} steps, cfg {sampling.cfg:g}, "
        f"{sampling.width} x {sampling.height}, {sampling.base_model or 'base model'}"
    )


def _measures_json(plan: GridPlan, measures: GridMeasures) -> dict[str, Any]:
    rounded: Callable[[Any], Any] = lambda value: round(value, 6) if isinstance(value, float) else value
    variants = []
    for variant in measures.variants:
        row = {name: rounded(value) for name, value in asdict(variant).items()}
        row["checkpoint"] = variant.checkpoint and variant.checkpoint.step
        row["collapsed"] = variant.collapsed
        variants.append(row)
    return {
        "encoder": measures.encoder,
        "used": list(measures.used),
        "missing": list(measures.missing),
        "variants": variants,
        "advice": {
            each.sha256: {
                name: rounded(value) for name, value in asdict(recommend_strength(measures, each)).items()
            }
            for each in dict.fromkeys(cell.render.checkpoint for cell in plan.cells)
            if each is not None
        },
    }
