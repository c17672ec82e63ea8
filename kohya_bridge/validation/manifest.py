"""`validation_manifest.json`: every picture that was rendered to judge a run, how it was made, and what it measured.

In: records of cells and grids. Out: one JSON file for each run, written atomically under a lock. A re-run replaces the
record of the same cell, but the `notes` that a person wrote stay, on cells, grids and the whole. A file that can't be
read is never overwritten.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from filelock import FileLock, Timeout
from pydantic import Field

from .. import json_text
from ..errors import Conflict, InvalidInput, UnusableFile
from ..files import Tree
from ..forbidding import Forbidding, parse
from ..names import FileName, OneLine, RunId, Sha256, Slug
from .cells import Checkpoint, Render

MANIFEST_NAME = "validation_manifest.json"
LOCK_TIMEOUT_S = 30.0
MOST_STEPS = 1_000_000_000
Strength = Annotated[float, Field(ge=-100.0, le=100.0)]
Key = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class Sampling(Forbidding):
    """How a picture was sampled."""

    sampler: str
    """Sampler name, as the renderer calls it."""
    scheduler: str
    """Noise schedule name."""
    steps: int
    """Sampling steps."""
    cfg: float
    """Classifier-free guidance scale."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    base_model: str = ""
    """Name of the checkpoint that rendered it."""
    renderer: Literal["comfyui", "diffusers"] = "comfyui"
    """Who rendered it: the two never make equal pixels."""


class PictureFile(Forbidding):
    """A picture on disk."""

    file: FileName
    """Relative to the manifest's folder."""
    sha256: Sha256
    """Of the file."""


class LoraFile(Forbidding):
    """The LoRA that a cell was rendered with."""

    step: Annotated[int, Field(ge=0, le=MOST_STEPS)]
    """Optimizer step of the checkpoint."""
    file: FileName
    """Relative to the run folder."""
    sha256: Sha256
    """Of the file."""


class CellRecord(Forbidding):
    """One rendered picture."""

    key: Key
    """Digest of everything that decides its pixels."""
    prompt: str
    """As it was sampled."""
    negative: str = ""
    """Negative prompt."""
    trigger_off: bool = False
    """Whether the trigger was taken out of the prompt on purpose."""
    seed: int
    """Sampling seed."""
    strength: Strength
    """LoRA strength; 0 is the base model alone."""
    lora: LoraFile | None = None
    """None for the base model alone."""
    sampling: Sampling
    """How it was sampled."""
    picture: PictureFile | None = None
    """None while it is not rendered."""
    metrics: dict[str, float | None] = {}
    """By name of `measures.MEASURES`."""
    notes: str = ""
    """Free text of a person; survives re-runs."""


class GridRecord(Forbidding):
    """One labelled grid."""

    picture: PictureFile
    """The grid's PNG."""
    rows: list[str]
    """Row labels from the top."""
    columns: list[str]
    """Column labels from the left."""
    cells: dict[str, Key]
    """Address (`B2`) to cell key."""
    measures: dict[str, Any] = {}
    """What the whole grid measured: encoder, variants, what was not measured."""
    notes: str = ""
    """Free text of a person; survives re-runs."""


class Manifest(Forbidding):
    """The whole file."""

    version: Literal[1] = 1
    """Format of this file."""
    slug: Slug
    """Whose run."""
    run_id: RunId
    """Which run."""
    cells: list[CellRecord] = []
    """In the order in which they were first rendered."""
    grids: list[GridRecord] = []
    """In the order in which they were first composed."""
    notes: str = ""
    """Free text of a person."""


def cell_key(render: Render, sampling: Sampling) -> str:
    """Digest of everything that decides the pixels of a cell."""
    text = json_text.write({"render": render.key, **sampling.model_dump()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def lora_file(checkpoint: Checkpoint | None) -> LoraFile | None:
    """A checkpoint as the manifest records it."""
    if checkpoint is None:
        return None
    return LoraFile(step=checkpoint.step, file=checkpoint.file, sha256=checkpoint.sha256)


def read_manifest(file: Path) -> Manifest:
    """The manifest in `file`.

    Raises:
        InvalidInput: it is not JSON, or not a manifest; the file is left as it is.
    """
    return parse(Manifest, _loaded(file), what=file.name)


def _loaded(file: Path) -> Any:
    try:
        return Tree(file.parent).read_json(file)
    except UnusableFile as error:
        raise InvalidInput(error.problem, "Correct it, or move it away; it was not changed.") from None


def readable_manifest(file: Path) -> tuple[Manifest, tuple[str, ...]]:
    """What can be read of a manifest, and a sentence for each cell and grid that can't.

    Raises:
        InvalidInput: it is no manifest at all; the file is left as it is.
    """
    data = _loaded(file)
    if not isinstance(data, dict):
        return parse(Manifest, data, what=file.name), ()
    problems: list[str] = []
    kept = {
        name: _sound(model, data[name], f"{file.name}: {name}", problems)
        for name, model in (("cells", CellRecord), ("grids", GridRecord))
        if isinstance(data.get(name), list)
    }
    return parse(Manifest, {**data, **kept}, what=file.name), tuple(problems)


def _sound(model: type[Forbidding], rows: list[Any], what: str, problems: list[str]) -> list[Any]:
    sound = []
    for number, row in enumerate(rows, start=1):
        try:
            sound.append(parse(model, row, what=f"{what}, number {number},"))
        except InvalidInput as error:
            problems.append(error.problem.replace("\n  - ", " "))
    return sound


def strength_advice(manifest: Manifest, lora_sha256: str) -> dict[str, Any] | None:
    """What the newest grid recommends for that LoRA (fields of `strength.StrengthAdvice`); a measured one goes first."""
    found = []
    for grid in manifest.grids:
        told = grid.measures.get("advice")
        advice = told.get(lora_sha256) if isinstance(told, dict) else None
        with suppress(InvalidInput):  # no advice, or damaged by hand: the next one is taken
            found.append(parse(_Advice, advice, what="the advice"))
    measured = [advice for advice in found if advice.measured]
    return (measured or found)[-1].model_dump() if found else None


class _Advice(Forbidding):
    """Fields of `strength.StrengthAdvice`."""

    strength: Strength
    """The one to use."""
    low: Strength
    """The lowest that is as good."""
    high: Strength
    """The highest that is as good."""
    reason: OneLine
    """In words."""
    measured: bool
    """Whether pictures could decide."""


def update_manifest(
    file: Path, *, slug: str, run_id: str, cells: Iterable[CellRecord], grids: Iterable[GridRecord]
) -> Manifest:
    """Put `cells` and `grids` into the manifest, keep all notes, and return what stands there now. One with damaged cells or grids is
    kept beside the new one, which has all the others.

    Raises:
        InvalidInput: the file that is there can't be read or belongs to another run.
        Conflict: another process held the manifest for half a minute.
        StorageError: it can't be written; the old one stands.
    """
    files = Tree(file.parent)
    try:
        with FileLock(files.free(file.with_suffix(".lock")), timeout=LOCK_TIMEOUT_S):
            there = os.path.lexists(file)
            old, damaged = readable_manifest(file) if there else (Manifest(slug=slug, run_id=run_id), ())
            if (old.slug, old.run_id) != (slug, run_id):
                raise InvalidInput(
                    f"{file.name} belongs to run {old.run_id} of {old.slug}, not to {run_id} of {slug}.",
                    "Move it away, or validate into another folder.",
                )
            if damaged:
                files.write(
                    file.with_suffix(f".damaged-{time.strftime('%Y%m%d-%H%M%S')}.json"),
                    files.read_bytes(file),
                )
            new = old.model_copy(
                update={
                    "cells": _merged(old.cells, cells, name=lambda cell: cell.key),
                    "grids": _merged(old.grids, grids, name=lambda grid: grid.picture.file),
                }
            )
            files.write(
                file, json_text.write(new.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"
            )
            return new
    except Timeout:
        raise Conflict(
            f"Another process is writing {file.name}.", "Wait for it to end, then validate again."
        ) from None


def _merged(old: list[Any], new: Iterable[Any], *, name: Any) -> list[Any]:
    records = {name(record): record for record in old}
    for record in new:
        before = records.get(name(record))
        if before is not None and before.notes and not record.notes:
            record = record.model_copy(update={"notes": before.notes})
        records[name(record)] = record
    return list(records.values())
