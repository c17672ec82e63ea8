"""What pictures say about a LoRA, in numbers, each with what it can and cannot say (`MEASURES`).

In: the rendered pictures of a `GridPlan`, and training or held-out pictures where there are any. Out: `GridMeasures` for
each cell and each variant (checkpoint and strength), and a recommended strength with its reason. NumPy and Pillow only; a
better eye than the built-in thumbnail comes in as an `Encoder`. The same input gives the same numbers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .cells import Checkpoint, GridPlan, Render

Numbers = NDArray[np.float32]
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
        "quality or likeness; it is no target for a generated picture",
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


class Encoder(Protocol):
    """Turns pictures into vectors of length 1, so that their dot product is a similarity."""

    name: str

    def embed(self, pictures: Sequence[Image.Image]) -> Numbers:
        """`(N, D)`, one unit vector for each picture."""


class ThumbnailEncoder:
    """Colour and layout at 16 x 16: always there, blind to identity. Used when no image encoder is installed."""

    name = "thumbnail"

    def embed(self, pictures: Sequence[Image.Image]) -> Numbers:
        small = [
            np.asarray(each.convert("RGB").resize((16, 16), Image.Resampling.BOX), dtype=np.float32).ravel()
            for each in pictures
        ]
        vectors = np.stack(small) if small else np.zeros((0, 768), dtype=np.float32)
        vectors = vectors - vectors.mean(axis=1, keepdims=True)
        lengths: Numbers = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
        vectors = np.asarray(vectors / lengths, dtype=np.float32)
        return vectors


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


@dataclass(frozen=True)
class StrengthAdvice:
    """The strength to use, and why. `measured` is False where pictures could not decide."""

    strength: float
    low: float
    high: float
    reason: str
    measured: bool

    @property
    def text(self) -> str:
        """For people: "0.8 (0.6 to 1)"."""
        return f"{self.strength:g}" + (f" ({self.low:g} to {self.high:g})" if self.low != self.high else "")


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean absolute difference of two pictures of the same size, 0 (equal) to 1."""
    return float(np.abs(_pixels(one) - _pixels(other)).mean() / 255.0)


def psnr_db(one: Image.Image, other: Image.Image) -> float:
    """Peak signal-to-noise ratio in dB; infinite for identical pictures."""
    squared = float(np.square(_pixels(one) - _pixels(other)).mean())
    return math.inf if squared == 0 else 10 * math.log10(255.0**2 / squared)


def dhash(picture: Image.Image) -> int:
    """64-bit difference hash: which pixel of each neighbouring pair of a 9 x 8 greyscale thumbnail is brighter."""
    grey = np.asarray(picture.convert("L").resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    bits = (grey[:, 1:] > grey[:, :-1]).ravel()
    return int("".join("1" if bit else "0" for bit in bits), 2)


def diversity(pictures: Sequence[Image.Image]) -> float | None:
    """Mean distance over all pairs: half hash distance (layout), half pixel difference. None for fewer than two."""
    if len(pictures) < 2:
        return None
    hashes = [dhash(each) for each in pictures]
    distances = [
        0.5 * (hashes[i] ^ hashes[j]).bit_count() / 64 + 0.5 * difference(pictures[i], pictures[j])
        for i, j in itertools.combinations(range(len(pictures)), 2)
    ]
    return float(np.mean(distances))


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


def recommend_strength(measures: GridMeasures, checkpoint: Checkpoint) -> StrengthAdvice:
    """The strength at which this checkpoint's pictures come closest to the held-out ones without losing variety.

    Among strengths that the numbers cannot separate the weakest wins: it leaves most of the base model alone.
    """
    mine = sorted(
        (each for each in measures.variants if each.checkpoint == checkpoint and each.strength > 0),
        key=lambda each: each.strength,
    )
    if not mine:
        return StrengthAdvice(
            1.0,
            1.0,
            1.0,
            "No strength of this checkpoint was rendered; 1.0 is what it was trained at.",
            False,
        )
    alive = [each for each in mine if not each.collapsed]
    dropped = ", ".join(f"{each.strength:g}" for each in mine if each.collapsed)
    lost = (
        f" Strength {dropped} was left out: pictures of different seeds look alike there." if dropped else ""
    )
    if not alive:
        weakest = mine[0].strength
        return StrengthAdvice(
            weakest, weakest, weakest, f"Every strength lost variety; {weakest:g} is the weakest.", True
        )
    if any(each.gain is None for each in alive):
        nearest = min(alive, key=lambda each: abs(each.strength - 1.0)).strength
        reason = f"No held-out pictures to compare with; {nearest:g} is nearest to 1.0, the strength it was trained at."
        return StrengthAdvice(nearest, alive[0].strength, alive[-1].strength, reason + lost, bool(dropped))
    return _by_gain(alive, lost, encoder=measures.encoder)


def _by_gain(alive: list[Variant], lost: str, *, encoder: str) -> StrengthAdvice:
    best = max(alive, key=lambda each: each.gain or 0.0)
    floor = best.gain_low if best.gain_low is not None else best.gain
    close = [
        each
        for each in alive
        if (each.gain_high if each.gain_high is not None else each.gain or 0.0) >= (floor or 0.0)
    ]
    close = [each for each in close if (each.gain or 0.0) >= 0.9 * (best.gain or 0.0)] or [best]
    chosen = close[0]
    eye = "" if encoder != "thumbnail" else " (colour and layout only: no image encoder is installed)"
    if (best.gain or 0.0) <= 0:
        reason = f"No strength brings the pictures closer to the held-out ones than the base model is{eye}."
        return StrengthAdvice(chosen.strength, chosen.strength, chosen.strength, reason + lost, True)
    reason = f"At {best.strength:g} pictures come closest to the held-out ones{eye}"
    others = ", ".join(f"{each.strength:g}" for each in close if each is not best)
    reason += f"; {others} can't be told from it, and the weakest of these is taken." if others else "."
    return StrengthAdvice(chosen.strength, close[0].strength, close[-1].strength, reason + lost, True)


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
    rows = encoder.embed([pictures[each.key] for each in renders])
    vectors = {each.key: row for each, row in zip(renders, rows, strict=True)}
    return _Seen(
        vectors,
        encoder.embed(training) if training else None,
        encoder.embed(held_out) if held_out else None,
    )


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


def _pixels(picture: Image.Image) -> Numbers:
    return np.asarray(picture.convert("RGB"), dtype=np.float32)


def _mean(values: object) -> float | None:
    there = [each for each in values if each is not None]  # type: ignore[attr-defined]
    return float(np.mean(there)) if there else None
