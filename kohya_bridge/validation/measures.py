"""What pictures say about a LoRA, in numbers, each with what it can and cannot say (`MEASURES`).

In: the rendered pictures of a `GridPlan`, and training or held-out pictures where there are any. Out: `GridMeasures` for
each cell and each variant (checkpoint and strength). A better eye than the built-in thumbnail comes in as an `Encoder`. The
same input gives the same numbers. Which strength follows from them is `strength`'s matter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from .cells import Checkpoint, GridPlan, Render
from .likeness import Encoder, Numbers, ThumbnailEncoder, difference, diversity, psnr_db

COLLAPSED_BELOW = 0.6
"""A variant whose diversity is below this share of the base model's counts as collapsed."""
BOOTSTRAP_ROUNDS = 1000


@dataclass(frozen=True)
class Measure:
    """What a number means: its range, what it can say, what it cannot."""

    unit: str
    says: str
    cannot_say: str


MEASURES: dict[str, Measure] = {
    "difference": Measure(
        "0 to 1, mean absolute difference to the base model's picture of the same prompt and seed",
        "whether the LoRA acts at all, and how strongly; exactly 0 at strength 0",
        "whether the change is for the better",
    ),
    "psnr_db": Measure(
        "decibels against the base model's picture of the same prompt and seed; empty for identical pictures",
        "the same as difference, on the scale that image work is used to",
        "quality or likeness; it is not a target for a generated picture",
    ),
    "diversity": Measure(
        "0 to 1, mean distance between pictures of one prompt that differ in their seed only",
        "whether the variant still makes different pictures; compare with the base model's number",
        "whether differing pictures are good ones",
    ),
    "nearest_training": Measure(
        "-1 to 1, similarity to the most similar training picture",
        "memorising, where it is far above the base model's number for the same cell and close to 1",
        "likeness: a copy of a training picture scores best of all",
    ),
    "held_out_similarity": Measure(
        "-1 to 1, mean similarity to the pictures that training never saw",
        "likeness to the character in new pictures, relative to the base model's number",
        "anything beyond what the encoder sees; the built-in thumbnail sees colour and layout only",
    ),
    "leak": Measure(
        "0 or more, difference without the trigger divided by difference with it",
        "how much of the LoRA acts on prompts that do not ask for the character; 1 means all of it",
        "whether the leak does harm",
    ),
}


@dataclass(frozen=True)
class Variant:
    """What one checkpoint does at one strength, over all prompts and seeds. Empty numbers were not measured."""

    checkpoint: Checkpoint | None
    strength: float
    pictures: int
    difference: float | None = None
    diversity: float | None = None
    base_diversity: float | None = None
    nearest_training: float | None = None
    base_nearest_training: float | None = None
    held_out_similarity: float | None = None
    gain: float | None = None
    """Held-out similarity above the base model's, as a mean over cells with the 95 % interval below."""
    gain_low: float | None = None
    gain_high: float | None = None
    leak: float | None = None

    @property
    def collapsed(self) -> bool:
        return bool(
            self.diversity is not None
            and self.base_diversity
            and self.diversity < COLLAPSED_BELOW * self.base_diversity
        )


@dataclass(frozen=True)
class GridMeasures:
    """All numbers of a grid. `cells` maps a render's key to its own; `used` names the measures and the encoder."""

    cells: dict[str, dict[str, float | None]]
    variants: tuple[Variant, ...]
    encoder: str
    used: tuple[str, ...]
    missing: tuple[str, ...] = field(default=())
    """What was not measured, and what it would have needed."""


def measure_grid(
    plan: GridPlan,
    pictures: dict[str, Image.Image],
    *,
    training: Sequence[Image.Image] = (),
    held_out: Sequence[Image.Image] = (),
    encoder: Encoder | None = None,
) -> GridMeasures:
    """Measure what was rendered. `pictures` maps `Render.key` to pictures; cells without one are left out."""
    encoder = encoder or ThumbnailEncoder()
    renders = [each for each in plan.renders if each.key in pictures]
    seen = _look(renders, pictures, training=training, held_out=held_out, encoder=encoder)
    cells = {each.key: _measure_cell(each, pictures, seen) for each in renders}
    groups: dict[tuple[Checkpoint | None, float], list[Render]] = {}
    for each in renders:
        groups.setdefault((each.checkpoint, each.strength), []).append(each)
    variants = tuple(_measure_variant(group, cells, pictures, seen) for group in groups.values())
    used, missing = _account(cells, variants, training=training, held_out=held_out)
    return GridMeasures(cells, variants, encoder.name, used, missing)


@dataclass(frozen=True)
class _Seen:
    """Vectors of what was rendered, and of what it is compared with."""

    vectors: dict[str, Numbers]
    training: Numbers | None
    held_out: Numbers | None

    def nearest_training(self, key: str) -> float | None:
        return None if self.training is None else float((self.training @ self.vectors[key]).max())

    def held_out_similarity(self, key: str) -> float | None:
        return None if self.held_out is None else float((self.held_out @ self.vectors[key]).mean())


def _look(
    renders: list[Render],
    pictures: dict[str, Image.Image],
    *,
    training: Sequence[Image.Image],
    held_out: Sequence[Image.Image],
    encoder: Encoder,
) -> _Seen:
    if not (training or held_out) or not renders:
        return _Seen({}, None, None)
    # In one go: an encoder may be a process that loads a model first.
    rows = encoder.embed([*(pictures[each.key] for each in renders), *training, *held_out])
    cells, trained, apart = np.split(rows, [len(renders), len(renders) + len(training)])
    vectors = {each.key: row for each, row in zip(renders, cells, strict=True)}
    return _Seen(vectors, trained if training else None, apart if held_out else None)


def _baseline_of(render: Render) -> Render:
    return Render(render.prompt, render.seed, None, 0.0)


def _measure_cell(render: Render, pictures: dict[str, Image.Image], seen: _Seen) -> dict[str, float | None]:
    numbers: dict[str, float | None] = {}
    base = pictures.get(_baseline_of(render).key)
    picture = pictures[render.key]
    if base is not None and base.size == picture.size:
        numbers["difference"] = difference(picture, base)
        psnr = psnr_db(picture, base)
        numbers["psnr_db"] = psnr if math.isfinite(psnr) else None
    for name, value in (
        ("nearest_training", seen.nearest_training(render.key)),
        ("held_out_similarity", seen.held_out_similarity(render.key)),
    ):
        if value is not None:
            numbers[name] = value
    return numbers


def _measure_variant(
    group: list[Render],
    cells: dict[str, dict[str, float | None]],
    pictures: dict[str, Image.Image],
    seen: _Seen,
) -> Variant:
    asked = [each for each in group if not each.prompt.trigger_off]
    unasked = [each for each in group if each.prompt.trigger_off]
    base = [each for each in map(_baseline_of, asked) if each.key in pictures]
    effect = _mean(cells[each.key].get("difference") for each in asked)
    twin_seeds = {each.seed for each in unasked}
    first = next((each.prompt.text for each in asked), None)
    effect_of_twin = _mean(
        cells[each.key].get("difference")
        for each in asked
        if each.prompt.text == first and each.seed in twin_seeds
    )
    leaked = _mean(cells[each.key].get("difference") for each in unasked)
    gain, low, high = _gain(asked, seen)
    return Variant(
        checkpoint=group[0].checkpoint,
        strength=group[0].strength,
        pictures=len(asked),
        difference=effect,
        diversity=_diversity_by_prompt(asked, pictures),
        base_diversity=_diversity_by_prompt(base, pictures),
        nearest_training=_mean(cells[each.key].get("nearest_training") for each in asked),
        base_nearest_training=_mean(cells[each.key].get("nearest_training") for each in base),
        held_out_similarity=_mean(cells[each.key].get("held_out_similarity") for each in asked),
        gain=gain,
        gain_low=low,
        gain_high=high,
        leak=leaked / effect_of_twin if leaked is not None and effect_of_twin else None,
    )


def _diversity_by_prompt(renders: list[Render], pictures: dict[str, Image.Image]) -> float | None:
    by_prompt: dict[str, list[Image.Image]] = {}
    for each in renders:
        by_prompt.setdefault(each.prompt.text, []).append(pictures[each.key])
    same_size = [group for group in by_prompt.values() if len({each.size for each in group}) == 1]
    return _mean(diversity(group) for group in same_size)


def _gain(renders: list[Render], seen: _Seen) -> tuple[float | None, float | None, float | None]:
    """Mean held-out similarity above the base's cell by cell, with a bootstrap interval over cells (fixed seed)."""
    pairs = [(each.key, _baseline_of(each).key) for each in renders]
    gains = np.array(
        [
            (seen.held_out_similarity(key) or 0.0) - (seen.held_out_similarity(base) or 0.0)
            for key, base in pairs
            if seen.held_out is not None and base in seen.vectors
        ]
    )
    if not len(gains):
        return None, None, None
    if len(gains) < 2:
        return float(gains.mean()), None, None
    picks = np.random.default_rng(0).integers(0, len(gains), size=(BOOTSTRAP_ROUNDS, len(gains)))
    low, high = np.quantile(gains[picks].mean(axis=1), [0.025, 0.975])
    return float(gains.mean()), float(low), float(high)


def _account(
    cells: dict[str, dict[str, float | None]],
    variants: tuple[Variant, ...],
    *,
    training: Sequence[Image.Image],
    held_out: Sequence[Image.Image],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    used = [name for name in MEASURES if any(name in numbers for numbers in cells.values())]
    missing = []
    for name, needs in (("diversity", "two or more seeds"), ("leak", "the trigger-off row")):
        if any(getattr(each, name) is not None for each in variants):
            used.append(name)
        else:
            missing.append(f"{name}: needs {needs}")
    if not training:
        missing.append("nearest_training: needs the training pictures")
    if not held_out:
        missing.append("held_out_similarity: needs held-out pictures")
    return tuple(used), tuple(missing)


def _mean(values: object) -> float | None:
    there = [each for each in values if each is not None]  # type: ignore[attr-defined]
    return float(np.mean(there)) if there else None
