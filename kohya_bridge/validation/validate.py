"""Validating a run from the shell: rendering without a running ComfyUI, judging.

In: a run and what a person typed. Out: the same `Judged` that the ComfyUI node gives, in the same files.
"""

from __future__ import annotations

from collections.abc import Callable

from ..engines.contract import MachinePaths
from ..run_folder import RunFolder
from ..workspace import Workspace
from .asked_grid import USUAL_COLUMNS, asked_grid
from .judge import Judged, judge
from .manifest import Sampling
from .renderer import render_grid


def validate_run(
    run: RunFolder,
    *,
    paths: MachinePaths,
    sampling: Sampling,
    checkpoints: str = "best",
    prompts: tuple[str, ...] = (),
    negative: str = "",
    strengths: tuple[float, ...] = (1.0,),
    seeds: tuple[int, ...] = (1, 2),
    trigger_off: bool = False,
    columns: str = USUAL_COLUMNS,
    workspace: Workspace | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Judged:
    """Render and judge; `asked_grid` says what the words mean.

    Raises:
        InvalidInput, NotFound: what was asked for can't be; RenderingFailed: the renderer says why.
    """
    workspace = workspace or Workspace.at(run.dir.parents[2])
    grid = asked_grid(
        run,
        checkpoints=checkpoints,
        prompts=prompts,
        negative=negative,
        strengths=strengths,
        seeds=seeds,
        trigger_off=trigger_off,
        columns=columns,
        workspace=workspace,
    )
    pictures = render_grid(
        run,
        grid,
        sampling=sampling,
        paths=paths,
        folder=workspace.validation_dir(run.slug, run.run_id),
        on_progress=on_progress,
    )
    return judge(run, grid, pictures, sampling=sampling, workspace=workspace)
