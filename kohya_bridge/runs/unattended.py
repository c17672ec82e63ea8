"""Unattended validation: a part of a person's canvas that is queued again for every checkpoint of a run.

In: the prompt that Kohya Train was queued with, in API form. Out: the grids that hang on it with all that feeds them, kept in
the run folder, and one prompt for each checkpoint that has none yet, in the order of their steps. What was queued and how it
ended is on disk too, so a ComfyUI that was closed goes on where it was. Only what this machine kept here is queued; what came along
with the folder waits for a person (`asks.py`). It knows the form of a prompt, and nothing of ComfyUI.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..errors import UnusableFile
from ..files import Tree
from ..run_folder import RunFolder
from .held_prompt import Prompt, is_prompt, needed_by
from .kept_here import keep_here, read_kept

KIND = "unattended grids"


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
    try:
        before = read(run)
    except UnusableFile:
        before = None
    if before and (before.prompt, before.grids) == (wanted.prompt, wanted.grids):
        wanted = replace(wanted, over=before.over)
    _write(run, wanted)


def read_any(run: RunFolder) -> tuple[Unattended, bool] | None:
    """What a run's folder wants to have queued for its checkpoints, and whether this machine kept it here.

    Raises:
        UnusableFile: it is damaged.
    """
    try:
        record = read_kept(run, run.unattended_file, kind=KIND)
    except FileNotFoundError:
        return None
    try:
        wanted = Unattended(**{**record.content, "grids": tuple(record.content["grids"])})
    except (TypeError, KeyError):
        wanted = None
    if wanted is None or not _is_sound(wanted):
        raise UnusableFile(f"{run.unattended_file.name} is not a record of grids.", "Move it away.")
    return wanted, record.is_ours


def read(run: RunFolder) -> Unattended | None:
    """What is queued for the run's checkpoints; None where nobody asked for it on this machine. Raises UnusableFile."""
    found = read_any(run)
    return found[0] if found and found[1] else None


def _is_sound(wanted: Unattended) -> bool:
    if not is_prompt(wanted.prompt) or not all(isinstance(each, str) for each in wanted.grids):
        return False
    return (
        all("inputs" in wanted.prompt.get(each, {}) for each in wanted.grids)
        and isinstance(wanted.over, dict)
        and all(isinstance(how, str) for how in wanted.over.values())
    )


def next_checkpoint(run: RunFolder) -> dict[str, Any] | None:
    """The row of the earliest checkpoint that is on disk and was not validated yet; None when all were."""
    wanted = read(run)
    return None if wanted is None else next_for(run, wanted)


def next_for(run: RunFolder, wanted: Unattended) -> dict[str, Any] | None:
    """The same for grids that are wanted in this way, whoever wants them."""
    tree = Tree(run.dir)
    rows = [
        row
        for row in run.state().checkpoints
        if row.get("sha256") not in wanted.over and tree.is_file(row["file"])
    ]
    return min(rows, key=lambda row: int(row["step"]), default=None)


def close(run: RunFolder, sha256: str, how: str) -> None:
    """Note how the prompt of a checkpoint ended; it is not queued again."""
    wanted = read(run)
    if wanted is not None:
        _write(run, replace(wanted, over={**wanted.over, sha256: how}))


def grid_notices(run: RunFolder, checkpoints: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A notice, as a run's events have them, for each cause why grids of `checkpoints` were not made, with their steps.

    A damaged `unattended.json` is a notice too: the rest of the run can still be shown.
    """
    try:
        found = read_any(run)
    except UnusableFile:
        problem = f"{run.unattended_file.name} of this run is damaged: which grids were made is not known."
        fix = "Queue the canvas with validate_checkpoints again; the checkpoints are not touched by it."
        return [{"level": "warning", "code": "grids_unknown", "problem": problem, "fix": fix}]
    if found is None:
        return []
    wanted = found[0]
    missing: dict[str, list[int]] = {}
    for row in sorted(checkpoints, key=lambda row: int(row["step"])):
        how = wanted.over.get(str(row.get("sha256")), "success")
        if how != "success":
            missing.setdefault(how, []).append(row["step"])
    return [
        {
            "level": "warning",
            "code": "grid_not_made",
            "problem": f"No grid was made at step {', '.join(map(str, steps))}: {how or 'its prompt was taken out of the queue'}.",
            "fix": "The checkpoints are not touched by it. Correct the canvas and queue its LoRA Validate Grid on this run.",
        }
        for how, steps in missing.items()
    ]


def _write(run: RunFolder, wanted: Unattended) -> None:
    keep_here(run, run.unattended_file, asdict(wanted), kind=KIND)
