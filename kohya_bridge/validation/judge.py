"""Judging a rendered grid: measure it against the run's own data, save it, and say in words what was found.

In: a run, a planned grid and its pictures. Out: the saved grid with its measures, the strength to use for each checkpoint,
and a report. The one function that the ComfyUI node, the unattended validation and the shell call alike.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from ..counted import counted
from ..errors import Unavailable
from ..run_folder import RunFolder
from ..workspace import Workspace
from .cells import Checkpoint, GridPlan
from .encoders import find_encoder
from .likeness import Encoder
from .manifest import Sampling
from .measures import GridMeasures, Variant, measure_grid
from .reference import Reference, reference_pictures
from .save import SavedGrid, save_grid
from .strength import StrengthAdvice, recommend_strength


@dataclass(frozen=True)
class Judged:
    """A grid on disk, what it measured, and what follows."""

    saved: SavedGrid
    measures: GridMeasures
    advice: dict[Checkpoint, StrengthAdvice]
    report: str


def judge(
    run: RunFolder,
    grid: GridPlan,
    pictures: dict[str, Image.Image],
    *,
    sampling: Sampling,
    workspace: Workspace | None = None,
    encoder: Encoder | None = None,
    texts: dict[str, str] | None = None,
) -> Judged:
    """Measure and save. `texts` go into each cell's PNG (ComfyUI's `prompt` and `workflow`).

    Without `encoder` the best one on this machine is used, else the thumbnail; the report says which.

    Raises:
        InvalidInput, Conflict, StorageError: as `save_grid`.
    """
    workspace = workspace or Workspace.at(run.dir.parents[2])
    plan = run.plan()
    reference = reference_pictures(workspace, plan)
    measures, note = _measured(grid, pictures, reference, encoder or find_encoder(workspace))
    saved = save_grid(
        workspace.validation_dir(run.slug, run.run_id),
        grid,
        pictures,
        slug=run.slug,
        run_id=run.run_id,
        sampling=sampling,
        measures=measures,
        title=f"{plan.character}, run {run.run_id}",
        texts=texts,
    )
    checkpoints = dict.fromkeys(each.checkpoint for each in measures.variants if each.checkpoint)
    advice = {each: recommend_strength(measures, each) for each in checkpoints}
    return Judged(saved, measures, advice, _report(grid, measures, advice, saved, note))


def _measured(
    grid: GridPlan, pictures: dict[str, Image.Image], reference: Reference, encoder: Encoder | None
) -> tuple[GridMeasures, str]:
    """The measures and a note; an encoder that fails costs its better eye, not the grid that was rendered."""
    training, held_out, note = reference.training, reference.held_out, reference.note
    try:
        return measure_grid(grid, pictures, training=training, held_out=held_out, encoder=encoder), note
    except Unavailable as error:
        note = "\n".join(filter(None, [note, f"{error.problem} {error.fix}"]))
        return measure_grid(grid, pictures, training=training, held_out=held_out), note


def _report(
    grid: GridPlan,
    measures: GridMeasures,
    advice: dict[Checkpoint, StrengthAdvice],
    saved: SavedGrid,
    note: str,
) -> str:
    lines = [f"{counted(len(grid.renders), 'picture')} in {saved.file.name}."]
    lines += [f"Step {each.step}: use strength {said.text}. {said.reason}" for each, said in advice.items()]
    lines += [_line(each) for each in measures.variants if each.checkpoint]
    lines.append(f"Measured with: {', '.join(measures.used) or 'nothing'}; encoder: {measures.encoder}.")
    if measures.missing:
        lines.append(f"Not measured: {'; '.join(measures.missing)}.")
    return "\n".join([*lines, *filter(None, [note])])


def _line(variant: Variant) -> str:
    parts = [
        ("difference from the base", variant.difference, ""),
        ("diversity", variant.diversity, _against(variant.base_diversity)),
        ("likeness to held-out pictures", variant.held_out_similarity, _gained(variant)),
        ("nearest training picture", variant.nearest_training, _against(variant.base_nearest_training)),
        ("leak without trigger", variant.leak, ""),
    ]
    said = ", ".join(f"{name} {value:.3f}{more}" for name, value, more in parts if value is not None)
    collapsed = " Pictures of different seeds look alike." if variant.collapsed else ""
    step = variant.checkpoint.step if variant.checkpoint else 0
    return f"Step {step} at {variant.strength:g}: {said or 'nothing to compare with'}.{collapsed}"


def _against(base: float | None) -> str:
    return "" if base is None else f" (base {base:.3f})"


def _gained(variant: Variant) -> str:
    if variant.gain is None:
        return ""
    if variant.gain_low is None or variant.gain_high is None:
        return f" ({variant.gain:+.3f} against the base)"
    return f" ({variant.gain:+.3f} against the base, 95 % interval {variant.gain_low:+.3f} to {variant.gain_high:+.3f})"
