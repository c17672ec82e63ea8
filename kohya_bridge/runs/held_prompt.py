"""Held prompts: the parts of canvases that wait for a run, kept in the run's folder until the run has finished.

In: a prompt in ComfyUI's API form and the node that trains in it. Out: the same prompt with that node replaced by one
that opens the finished run, and everything left out that has run already or that nothing waits for. Each is queued exactly
once: whoever renames its file may queue it. Only what this machine kept here is handed out; what came along with the folder waits
for a person (`asks.py`). It knows the form of a prompt, and nothing of ComfyUI.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import json_text
from ..run_folder import RunFolder
from .kept_here import keep_here, read_kept

KIND = "held prompt"
Prompt = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class HeldPrompt:
    """What to queue, and who is told of it."""

    prompt: Prompt
    client_id: str | None = None
    """The page that queued the training, if any."""
    extra_pnginfo: dict[str, Any] | None = None
    """The workflow as the page knows it; goes into the pictures that the prompt saves."""


def waiting_part(prompt: Prompt, node_id: str, *, replacement: dict[str, Any]) -> Prompt:
    """What of `prompt` waits for `node_id`, with that node as `replacement`; empty when nothing does.

    Kept are the node's descendants and all that they need. The node's own inputs are gone, and with them whatever only
    they needed.
    """
    waiting = _descendants(prompt, node_id)
    if not waiting:
        return {}
    return needed_by({**prompt, node_id: replacement}, (node_id, *waiting))


def needed_by(prompt: Prompt, wanted: Iterable[str]) -> Prompt:
    """The part of `prompt` that the nodes `wanted` need, themselves included."""
    needed: set[str] = set()
    unvisited = list(wanted)
    while unvisited:
        each = unvisited.pop()
        if each not in needed and each in prompt:
            needed.add(each)
            unvisited += _sources(prompt[each])
    return {each: _without_marks(node) for each, node in prompt.items() if each in needed}


def _descendants(prompt: Prompt, node_id: str) -> set[str]:
    found: set[str] = set()
    frontier = {node_id}
    while frontier:
        frontier = {each for each, node in prompt.items() if frontier & set(_sources(node))} - found
        found |= frontier
    return found - {node_id}


def _sources(node: dict[str, Any]) -> list[str]:
    """Ids of the nodes that feed this one. A link is `[node id, output number]`."""
    links = [
        value for value in node.get("inputs", {}).values() if isinstance(value, list) and len(value) == 2
    ]
    return [str(source) for source, output in links if isinstance(output, int)]


def _without_marks(node: dict[str, Any]) -> dict[str, Any]:
    """A node without what ComfyUI notes on it while it runs (`is_changed` would freeze its fingerprint)."""
    return {key: value for key, value in node.items() if key in ("class_type", "inputs", "_meta")}


def keep(run: RunFolder, held: HeldPrompt) -> None:
    """Let `held` wait for the run, beside what waits already. The same prompt waits once however often it is queued."""
    keep_here(run, run.held_prompts_dir / f"{digest_of(held.prompt)}.json", asdict(held), kind=KIND)


def forget(run: RunFolder, held: HeldPrompt, *, node_id: str) -> None:
    """Let wait no longer what an earlier queueing of the same canvas left for that node: the same nodes, whatever their values."""
    for file in run.held_prompts():
        known = read_held(run, file)
        if known and known[1] and node_id in known[0].prompt and set(known[0].prompt) == set(held.prompt):
            run.files.remove(file)


def digest_of(prompt: Prompt) -> str:
    """The name under which a prompt waits."""
    return hashlib.sha256(json_text.write(prompt, sort_keys=True).encode()).hexdigest()[:16]


def claim(run: RunFolder) -> list[HeldPrompt]:
    """What this machine let wait for this run, oldest first, to be queued by the caller and by nobody else."""
    claimed = []
    for file in sorted(run.held_prompts(), key=_since):
        found = read_held(run, file)
        if found is None or not found[1]:
            continue
        try:
            os.replace(file, file.with_suffix(".queued"))
        except FileNotFoundError:
            continue  # somebody else was faster
        claimed.append(found[0])
    return claimed


def read_held(run: RunFolder, file: Path) -> tuple[HeldPrompt, bool] | None:
    """What waits in a file, and whether this machine kept it here; None for what is gone or damaged."""
    try:
        record = read_kept(run, file, kind=KIND)
        held = HeldPrompt(**record.content)
    except (OSError, TypeError):
        return None
    return (held, record.is_ours) if is_prompt(held.prompt) else None


def is_prompt(prompt: Any) -> bool:
    """Whether a value has the form of a prompt."""
    return (
        isinstance(prompt, dict)
        and bool(prompt)
        and all(
            isinstance(node, dict)
            and isinstance(node.get("class_type"), str)
            and isinstance(node.get("inputs", {}), dict)
            for node in prompt.values()
        )
    )


def _since(file: Path) -> int:
    try:
        return file.lstat().st_mtime_ns
    except FileNotFoundError:
        return 0  # claimed by somebody else meanwhile
