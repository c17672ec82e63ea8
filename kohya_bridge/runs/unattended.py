"""Unattended validation: a part of a person's canvas that is queued again for every checkpoint of a run.

In: the prompt that Kohya Train was queued with, in API form. Out: the grids that hang on it with all that feeds them, kept in
the run folder, and one prompt for each checkpoint that has none yet, in the order of their steps. What was queued and how it
ended is on disk too, so a ComfyUI that was closed goes on where it was. It knows the form of a prompt, and nothing of ComfyUI.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..run_folder import RunFolder
from ..workspace import write_atomically
from .held_prompt import Prompt, needed_by


@dataclass(frozen=True)
class Unattended:
    """What is queued for every checkpoint, and what has been."""

    prompt: Prompt
    grids: tuple[str, ...]
    """Ids of the grid nodes in `prompt`; each is told its checkpoint by step."""
    client_id: str | None = None
    """The page that queued the training, if any."""
    extra_pnginfo: dict[str, Any] | None = None
    over: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each checkpoint that needs nothing more, and how its prompt ended."""

    def for_step(self, step: int) -> Prompt:
        """The prompt for the checkpoint of that step."""
        prompt = copy.deepcopy(self.prompt)
        for each in self.grids:
            prompt[each]["inputs"]["checkpoints"] = str(step)
        return prompt


def grids_on(prompt: Prompt, node_id: str, *, grid: str) -> tuple[str, ...]:
    """Ids of the nodes of type `grid` whose `run` comes from `node_id`."""
    wire = [node_id, 0]
    return tuple(
        name
        for name, node in prompt.items()
        if node["class_type"] == grid and node.get("inputs", {}).get("run") == wire
    )


def grid_part(
    prompt: Prompt, node_id: str, grids: tuple[str, ...], *, replacement: dict[str, Any]
) -> Unattended:
    """The part of `prompt` that renders `grids`, with the training node `node_id` as `replacement`."""
    return Unattended(needed_by({**prompt, node_id: replacement}, grids), grids)


def keep(run: RunFolder, wanted: Unattended) -> None:
    """Validate every checkpoint of the run in this way from now on. Another prompt than before begins anew."""
    before = read(run)
    if before and (before.prompt, before.grids) == (wanted.prompt, wanted.grids):
        wanted = Unattended(**{**asdict(wanted), "grids": wanted.grids, "over": before.over})
    _write(run, wanted)


def read(run: RunFolder) -> Unattended | None:
    """What is queued for the run's checkpoints; None where nobody asked for it."""
    try:
        told = json.loads(run.unattended_file.read_text("utf-8"))
    except FileNotFoundError:
        return None
    return Unattended(**{**told, "grids": tuple(told["grids"])})


def next_checkpoint(run: RunFolder) -> dict[str, Any] | None:
    """The row of the earliest checkpoint that is on disk and was not validated yet; None when all were."""
    wanted = read(run)
    if wanted is None:
        return None
    rows = [
        row
        for row in run.state().checkpoints
        if row["sha256"] not in wanted.over and (run.dir / row["file"]).is_file()
    ]
    return min(rows, key=lambda row: int(row["step"]), default=None)


def close(run: RunFolder, sha256: str, how: str) -> None:
    """Note how the prompt of a checkpoint ended; it is not queued again."""
    wanted = read(run)
    if wanted is not None:
        wanted.over[sha256] = how
        _write(run, wanted)


def grid_notices(run: RunFolder, checkpoints: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A notice, as a run's events have them, for each cause why grids of `checkpoints` were not made, with their steps.

    A damaged `unattended.json` is a notice too: the rest of the run can still be shown.
    """
    try:
        wanted = read(run)
    except (ValueError, TypeError, KeyError):
        problem = f"{run.unattended_file.name} of this run is damaged: which grids were made is not known."
        fix = "Queue the canvas with validate_checkpoints again; the checkpoints are not touched by it."
        return [{"level": "warning", "code": "grids_unknown", "problem": problem, "fix": fix}]
    if wanted is None:
        return []
    missing: dict[str, list[int]] = {}
    for row in sorted(checkpoints, key=lambda row: int(row["step"])):
        how = wanted.over.get(row["sha256"], "success")
        if how != "success":
            missing.setdefault(how, []).append(row["step"])
    return [
        {
            "level": "warning",
            "code": "grid_not_made",
            "problem": f"No grid was made at step {', '.join(map(str, steps))}: {how or 'its prompt was taken out of the queue'}.",
            "fix": "The checkpoints are not touched by it. Mend the canvas and queue its LoRA Validate Grid on this run.",
        }
        for how, steps in missing.items()
    ]


def _write(run: RunFolder, wanted: Unattended) -> None:
    write_atomically(run.unattended_file, json.dumps(asdict(wanted), indent=1))
