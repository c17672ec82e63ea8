"""Selection: which checkpoint is best, and when going on is pointless. With reasons that a person can read.

In: rows of `validation` and `checkpoint` events, as `RunState` keeps them. Out: a `Choice`, or why to stop. Pure; for
every engine. The measure is the held-out loss at fixed noise and timesteps: training loss is mostly the luck of the
timestep, and pictures have no ground truth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from .counted import counted

Row = dict[str, Any]

# Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom; beyond, the normal distribution's.
_T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """The best checkpoint, and why."""

    step: int
    file: str
    reason: str


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """`(mean, low, high)` with the 95 % interval of the mean by Student's t; one value has an infinite interval."""
    count = len(values)
    mean = math.fsum(values) / count
    if count == 1:
        return mean, -math.inf, math.inf
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = (_T95[count - 2] if count - 1 <= len(_T95) else 1.960) * deviation / math.sqrt(count)
    return mean, mean - half, mean + half


def choose_best(validations: Sequence[Row], checkpoints: Sequence[Row]) -> Choice | None:
    """The checkpoint with the lowest held-out loss; of those that can't be told apart from it, the earliest.

    Checkpoints are told apart by the 95 % interval of their losses' differences, cell by cell (same picture, same noise,
    same timestep), where the rows carry them in `cells`: the plain intervals mostly show how pictures differ from each
    other. Without any measurement the last checkpoint is chosen. None when there is no checkpoint.
    """
    files = {row["step"]: row["file"] for row in checkpoints}
    measured = {row["step"]: row for row in validations if row["step"] in files and _finite(row.get("loss"))}
    if not measured:
        if not files:
            return None
        last = max(files)
        return Choice(last, files[last], "The last checkpoint: no held-out measurement says which is best.")
    lowest = min(measured.values(), key=lambda row: (row["loss"], row["step"]))
    equals = [row for row in measured.values() if row["step"] < lowest["step"] and _same(row, lowest)]
    if not equals:
        reason = (
            f"Lowest held-out loss: {lowest['loss']:.4f} of {counted(len(measured), 'measured checkpoint')}."
        )
        return Choice(lowest["step"], files[lowest["step"]], reason)
    earliest = min(equals, key=lambda row: row["step"])
    reason = (
        f"Held-out loss {earliest['loss']:.4f} at step {earliest['step']} can't be told apart from the lowest, "
        f"{lowest['loss']:.4f} at step {lowest['step']} (95 % interval); the earlier one has overfitted less."
    )
    return Choice(earliest["step"], files[earliest["step"]], reason)


def why_stop(
    validations: Sequence[Row], *, patience: int = 0, min_delta: float = 0.0, target_psnr: float = 0.0
) -> str | None:
    """Why training should stop now, or None. Rows in step order; measurements that are not numbers are passed over.

    `patience` counts measurements after the best one; a loss is better only when lower by more than `min_delta`. The
    measurement of the untrained model (step 0) is the first one to beat.
    """
    rows = [row for row in validations if _finite(row.get("loss"))]
    if not rows:
        return None
    psnr = rows[-1].get("psnr")
    if target_psnr and rows[-1]["step"] and psnr is not None and _finite(psnr) and psnr >= target_psnr:
        return f"The held-out PSNR reached {psnr:.2f} dB; the target is {target_psnr:g} dB."
    best = rows[0]
    for row in rows[1:]:
        if row["loss"] < best["loss"] - min_delta:
            best = row
    waited = sum(1 for row in rows if row["step"] > best["step"])
    if patience and waited >= patience:
        return (
            f"No better held-out loss in {counted(waited, 'measurement')} since {best['loss']:.4f} at step "
            f"{best['step']}; early_stop_patience is {patience}."
        )
    return None


def _same(earlier: Row, lowest: Row) -> bool:
    """Whether the earlier loss is no worse as far as the measurement can tell."""
    here, there = earlier.get("cells"), lowest.get("cells")
    if not here or not there or len(here) != len(there):
        return bool(earlier["loss"] == lowest["loss"])
    low = mean_interval([mine - its for mine, its in zip(here, there, strict=True)])[1]
    return low <= 0.0


def _finite(value: Any) -> TypeGuard[float]:
    """Events carry a number that is none as text ("nan")."""
    return isinstance(value, (int, float)) and math.isfinite(value)
