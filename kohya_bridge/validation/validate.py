"""Validating a run from the shell: which checkpoints and prompts, rendering without ComfyUI, judging.

In: a run and what a person typed. Out: the same `Judged` that the ComfyUI node gives, in the same files.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from ..errors import InvalidInput
from ..run_folder import RunFolder
from ..workspace import Workspace
from .cells import Checkpoint, Prompt, plan_cells
from .judge import Judged, judge
from .manifest import Sampling
from .reference import held_out_captions
from .renderer import render_grid


def validate_run(
    run: RunFolder,
    *,
    base_model_file: Path,
    tokenizer_dir: Path,
    sampling: Sampling,
    checkpoints: str = "best",
    prompts: tuple[str, ...] = (),
    negative: str = "",
    strengths: tuple[float, ...] = (1.0,),
    seeds: tuple[int, ...] = (1, 2),
    trigger_off: bool = False,
    workspace: Workspace | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Judged:
    """Render and judge. Without `prompts` the captions of two held-out pictures are used, else the trigger alone.

    Raises:
        InvalidInput, NotFound: what was asked for can't be; RenderingFailed: the renderer says why.
    """
    workspace = workspace or Workspace.at(run.dir.parents[2])
    plan = run.plan()
    texts = (
        prompts
        or held_out_captions(workspace, plan)
        or ((plan.dataset.trigger,) if plan.dataset.trigger else ())
    )
    grid = plan_cells(
        checkpoints=choose_checkpoints(run, checkpoints),
        prompts=tuple(Prompt(text, negative) for text in texts),
        strengths=strengths,
        seeds=seeds,
        trigger=plan.dataset.trigger,
        trigger_off=trigger_off,
    )
    pictures = render_grid(
        run,
        grid,
        sampling=sampling,
        base_model_file=base_model_file,
        tokenizer_dir=tokenizer_dir,
        folder=workspace.validation_dir(run.slug, run.run_id),
        on_progress=on_progress,
    )
    return judge(run, grid, pictures, sampling=sampling, workspace=workspace)


def choose_checkpoints(run: RunFolder, words: str) -> tuple[Checkpoint, ...]:
    """The checkpoints that `words` names: best, latest, all, or steps, with commas between.

    Raises:
        InvalidInput: a word names nothing. NotFound: the run has no such checkpoint.
    """
    rows = []
    for word in re.findall(r"[^\s,;]+", words.lower()):
        if word == "all":
            rows += sorted(run.state().checkpoints, key=lambda row: row["step"])
        elif word in ("best", "latest") or word.isdigit():
            rows.append(run.checkpoint(word))
        else:
            raise InvalidInput(
                f"{word!r} names no checkpoint.", "Write best, latest, all, or steps such as 200, 400."
            )
    if not rows:
        raise InvalidInput("No checkpoint is chosen.", "Write best, latest, all, or steps such as 200, 400.")
    unique = {row["file"]: row for row in rows}
    return tuple(Checkpoint(row["step"], row["file"], row["sha256"]) for row in unique.values())
