"""Asks: what came along with a run's folder and would act by itself, so that a person decides.

In: a run. Out: `Ask`s: prompts that would be queued when the run has completed, grids that would be rendered for its checkpoints.
Neither is sent before somebody agreed; then the record becomes one of this machine's own. What was kept here asks nobody.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import json_text
from ..breathing import breathe
from ..errors import NotFound, UnusableFile
from ..files import Tree
from ..redaction import cleaned
from ..run_folder import RunFolder
from . import held_prompt, unattended
from .held_prompt import Prompt

GRIDS = "grids"
MOST_SHOWN = 200_000
"""Characters of a prompt that a person is shown."""


@dataclass(frozen=True)
class Ask:
    """One thing that waits for a person's word."""

    run_id: str
    slug: str
    what: str
    """`grids`, `order`, or the name of a held prompt: what `agree` and `decline` are told."""
    kind: str
    """`prompt`, `grids` or `order`."""
    since: float
    """When its file was written, in seconds since the epoch."""
    nodes: dict[str, int]
    """Node types in the prompt, and how many of each."""
    text: str
    """The whole prompt as JSON, cut where it is very long."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def runs_with_records(names: Iterable[tuple[str, str]]) -> Iterator[RunFolder]:
    """The few runs that have anything at all that might ask, found without a `Path` for each of the others."""
    for _, folder in names:
        breathe()
        if os.path.lexists(f"{folder}/held_prompts") or os.path.lexists(f"{folder}/unattended.json"):
            yield RunFolder(Path(folder))


def asks_of(run: RunFolder) -> list[Ask]:
    """What in this run's folder waits for a person, oldest first. A damaged record asks for nothing."""
    return sorted([*_prompts(run), *_grids(run)], key=lambda each: (each.since, each.what))


def agree(run: RunFolder, what: str) -> None:
    """Make a record this machine's own: it is sent as if it had been kept here. Raises NotFound, StorageError."""
    if what == GRIDS:
        unattended.keep(run, _foreign_grids(run))
        return
    file = _held_file(run, what)
    found = held_prompt.read_held(run, file)
    if found is None or found[1]:
        raise _nothing(run, what)
    held_prompt.keep(run, found[0])
    if file.stem != held_prompt.digest_of(found[0].prompt):
        Tree(run.dir).remove(file)


def decline(run: RunFolder, what: str) -> None:
    """Put a record aside: it stays in the folder under a name that nobody sends. Raises NotFound, StorageError."""
    if what == GRIDS:
        _foreign_grids(run)
        Tree(run.dir).move(run.unattended_file, f"{run.unattended_file.name}.declined")
        return
    file = _held_file(run, what)
    Tree(run.dir).move(file, file.with_suffix(".declined"))


def _prompts(run: RunFolder) -> Iterator[Ask]:
    for file in run.held_prompts() if os.path.lexists(run.held_prompts_dir) else ():
        found = held_prompt.read_held(run, file)
        if found is not None and not found[1]:
            yield _ask(run, file.stem, "prompt", file, found[0].prompt)


def _grids(run: RunFolder) -> Iterator[Ask]:
    if not os.path.lexists(run.unattended_file):
        return
    try:
        wanted = _foreign_grids(run)
    except (NotFound, UnusableFile):
        return
    if unattended.next_for(run, wanted) is not None:
        yield _ask(run, GRIDS, "grids", run.unattended_file, wanted.prompt)


def _foreign_grids(run: RunFolder) -> unattended.Unattended:
    found = unattended.read_any(run)
    if found is None or found[1]:
        raise _nothing(run, GRIDS)
    return found[0]


def _held_file(run: RunFolder, what: str) -> Path:
    """The file of a held prompt by its name, looked up among those that are there."""
    for file in run.held_prompts():
        if file.stem == what:
            return file
    raise _nothing(run, what)


def _nothing(run: RunFolder, what: str) -> NotFound:
    return NotFound(
        f"Nothing called {what[:40]!r} of run {run.run_id} waits for an answer.",
        "It was answered already; look again.",
    )


def _ask(run: RunFolder, what: str, kind: str, file: Path, prompt: Prompt) -> Ask:
    nodes = Counter(node["class_type"] for node in prompt.values())
    text = json_text.write(cleaned(prompt), indent=1, ensure_ascii=False)[:MOST_SHOWN]
    return Ask(run.run_id, run.slug, what, kind, file.lstat().st_mtime, dict(nodes.most_common(40)), text)
