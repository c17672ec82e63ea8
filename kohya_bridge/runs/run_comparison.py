"""Two runs beside each other: what went in differently, what came out differently, and whether that can be told from chance.

In: two run folders. Out: differences by field, and a verdict on the held-out losses. Losses are compared picture by picture
at the same noise and timestep, which only runs with the same held-out pictures and base model share; otherwise the verdict
says why not. What was trained may differ: whether that matters is the question.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..package import packages_of
from ..plan import TrainingPlan, plan_differences
from ..run_folder import RunFolder
from ..run_state import RunState
from ..selection import mean_interval

ENVIRONMENT_LEFT_OUT = ("interpreter",)
"""Facts of one machine that say nothing about a run."""


@dataclass(frozen=True)
class Difference:
    """One field in which two runs differ. `part` is "plan", "environment" or "result"."""

    part: str
    field: str
    old: Any
    new: Any


@dataclass(frozen=True)
class Comparison:
    """All differences of two runs, and what can be said of their held-out losses."""

    differences: tuple[Difference, ...]
    verdict: str
    separable: bool | None
    """Whether the held-out losses differ beyond chance; None when they can't be compared."""


def compare_runs(old: RunFolder, new: RunFolder) -> Comparison:
    """`new` against `old`."""
    differences = [
        *(Difference("plan", *each) for each in plan_differences(old.plan(), new.plan())),
        *_table_differences("environment", _flat(old.environment()), _flat(new.environment())),
        *_table_differences("result", run_result(old), run_result(new)),
    ]
    separable, verdict = _verdict(old, new)
    return Comparison(tuple(differences), verdict, separable)


def run_result(run: RunFolder) -> dict[str, Any]:
    """What came out of a run, as flat facts."""
    state = run.state()
    best = _best_validation(state)
    packaged = packages_of(run)
    return {
        "status": state.status,
        "step": state.step,
        "attempts": state.attempt,
        "duration_s": round(state.finished - state.started, 1) if state.finished and state.started else None,
        "seconds_per_step": state.seconds_per_step,
        "peak_vram_gib": state.peak_vram_gib,
        "loss_ema": state.loss_ema,
        "held_out_loss": best.get("loss"),
        "held_out_psnr": best.get("psnr"),
        "best_step": state.best["step"] if state.best else None,
        "package": packaged[-1]["name"] if packaged else None,
    }


def _verdict(old: RunFolder, new: RunFolder) -> tuple[bool | None, str]:
    one, other = old.plan(), new.plan()
    before, after = _best_validation(old.state()), _best_validation(new.state())
    for what, mine, its in (
        *_measured_on(one, before, other, after),
        ("base models", one.base_model.sha256, other.base_model.sha256),
        ("engines", one.engine, other.engine),
    ):
        if mine != its:
            return None, f"The held-out losses can't be compared: the {what} differ."
    here, there = before.get("cells"), after.get("cells")
    if not here or not there or len(here) != len(there):
        return None, "The held-out losses can't be compared: a run has no measurements by picture."
    gains = [later - earlier for earlier, later in zip(here, there, strict=True)]
    mean, low, high = mean_interval(_by_picture(gains, before.get("items") or 0))
    numbers = (
        f"{before['loss']:.5f} against {after['loss']:.5f}; paired difference {mean:+.5f}, "
        f"95 % interval {low:+.5f} to {high:+.5f} over pictures"
    )
    if low <= 0 <= high:
        return False, f"Not separable: {numbers}."
    return True, f"Run {(new if mean < 0 else old).run_id} is better on held-out pictures: {numbers}."


def _measured_on(
    one: TrainingPlan, before: dict[str, Any], other: TrainingPlan, after: dict[str, Any]
) -> list[tuple[str, Any, Any]]:
    """What must be equal for two measurements to be of the same thing. An engine that doesn't tell leaves the whole data."""
    if before.get("measured_on") and after.get("measured_on"):
        return [("held-out pictures or their captions", before["measured_on"], after["measured_on"])]
    return [
        ("datasets", one.dataset.digest, other.dataset.digest),
        ("validation seeds", one.settings.validation_seed, other.settings.validation_seed),
        ("validation splits", one.settings.validation_split, other.settings.validation_split),
    ]


def _by_picture(gains: list[float], pictures: int) -> list[float]:
    """Means over each picture's timesteps: those of one picture rise and fall together, so they are one observation."""
    if pictures < 2 or len(gains) % pictures:
        return gains
    each = len(gains) // pictures
    return [sum(gains[at : at + each]) / each for at in range(0, len(gains), each)]


def _best_validation(state: RunState) -> dict[str, Any]:
    """The measurement of the chosen checkpoint, else the last one."""
    if state.best:
        for row in state.validations:
            if row["step"] == state.best["step"]:
                return dict(row)
    return dict(state.validations[-1]) if state.validations else {}


def _flat(data: dict[str, Any], *, start: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if key in ENVIRONMENT_LEFT_OUT:
            continue
        if isinstance(value, dict):
            flat |= _flat(value, start=f"{start}{key}.")
        else:
            flat[f"{start}{key}"] = value
    return flat


def _table_differences(part: str, old: dict[str, Any], new: dict[str, Any]) -> list[Difference]:
    fields = [*old, *(name for name in new if name not in old)]
    return [
        Difference(part, name, old.get(name), new.get(name))
        for name in fields
        if old.get(name) != new.get(name)
    ]
