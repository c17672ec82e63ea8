"""The grid that a person asks for in words: which checkpoints, which prompts, what varies across the columns.

In: a run and what was typed into a node or a command line. Out: a `GridPlan`, the same for both. Renders nothing.
"""

from __future__ import annotations

import re

from ..errors import FieldProblem, InvalidInput
from ..plan import TrainingPlan
from ..run_folder import RunFolder
from ..workspace import Workspace
from .cells import DIMENSIONS, Checkpoint, GridPlan, Prompt, plan_cells
from .reference import held_out_captions

USUAL_COLUMNS = "checkpoint, strength"


def asked_grid(
    run: RunFolder,
    *,
    checkpoints: str = "best",
    prompts: tuple[str, ...] = (),
    negative: str = "",
    strengths: tuple[float, ...] = (1.0,),
    seeds: tuple[int, ...] = (1, 2),
    trigger_off: bool = False,
    columns: str = USUAL_COLUMNS,
    workspace: Workspace | None = None,
) -> GridPlan:
    """The grid of `run`. Without `prompts` the captions of two held-out pictures are used, else the trigger alone.

    Raises:
        InvalidInput, NotFound: what was asked for can't be.
    """
    plan = run.plan()
    rows, across = share_out(columns)
    texts = prompts or usual_prompts(workspace or Workspace.at(run.dir.parents[2]), plan)
    return plan_cells(
        checkpoints=choose_checkpoints(run, checkpoints),
        prompts=tuple(Prompt(text, negative) for text in texts),
        strengths=strengths,
        seeds=seeds,
        rows=rows,
        columns=across,
        trigger=plan.dataset.trigger,
        trigger_off=trigger_off,
    )


def usual_prompts(workspace: Workspace, plan: TrainingPlan) -> tuple[str, ...]:
    """Prompts that training never saw: captions of held-out pictures. Where none were held out, the trigger."""
    trigger = plan.dataset.trigger
    return held_out_captions(workspace, plan) or ((trigger,) if trigger else ())


def choose_checkpoints(run: RunFolder, words: str) -> tuple[Checkpoint, ...]:
    """The checkpoints that `words` names: best, latest, all, or steps, with commas between.

    Raises:
        InvalidInput: a word names nothing. NotFound: the run has no such checkpoint.
    """
    rows = []
    for word in _words(words):
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


def share_out(columns: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """`(rows, columns)`: what `columns` names varies from left to right, the rest from top to bottom; the last-named
    fastest. Raises InvalidInput."""
    across = tuple(dict.fromkeys(word.removesuffix("s") for word in _words(columns)))
    unknown = [word for word in across if word not in DIMENSIONS]
    if unknown:
        problem = FieldProblem(
            "columns",
            columns,
            f"{unknown[0]!r} is nothing that varies.",
            f"Choose from {', '.join(DIMENSIONS)}.",
        )
        raise InvalidInput("The validation grid can't be laid out:", problems=[problem])
    rows = [name for name in ("checkpoint", "strength", "prompt", "seed") if name not in across]
    return tuple(rows), across


def _words(text: str) -> list[str]:
    return re.findall(r"[^\s,;]+", text.lower())
