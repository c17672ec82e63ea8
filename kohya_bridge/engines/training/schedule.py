"""Learning-rate schedules as pure functions: the rate of a step needs nothing but the step's number.

In: name, step, horizon. Out: a factor on the base rate. Formulas are those of diffusers.optimization.get_scheduler,
which the tests compare with; a closed form instead of a stateful object makes a resume exact without saved state.
"""

from __future__ import annotations

import math

from ...settings import SCHEDULE_FREE, TrainingSettings

POLYNOMIAL_END_RATE = 1e-7  # diffusers' and sd-scripts' default `lr_end`


def warmup_steps(settings: TrainingSettings) -> int:
    """Warm-up in optimizer steps; the setting may be a share of all steps."""
    given = settings.lr_warmup_steps
    return int(given) if given >= 1 else int(given * settings.max_train_steps)


def rate_factor(settings: TrainingSettings, step: int, *, base_rate: float) -> float:
    """What optimizer step `step` (counted from 0) multiplies its base rate by.

    `constant` has no warm-up, as in diffusers and sd-scripts; schedule-free optimisers warm up by themselves.
    """
    name, total, warmup = settings.lr_scheduler, settings.max_train_steps, warmup_steps(settings)
    if name == "constant" or settings.optimizer_type in SCHEDULE_FREE:
        return 1.0
    if step < warmup:
        return step / max(1, warmup)
    if name == "constant_with_warmup":
        return 1.0
    if name == "polynomial":
        return _polynomial(step - warmup, total - warmup, settings.lr_scheduler_power, base_rate)
    if name == "linear":
        return max(0.0, (total - step) / max(1, total - warmup))
    done = (step - warmup) / max(1, total - warmup)
    if name == "cosine":
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * done)))
    if done >= 1.0:
        return 0.0
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * (done * settings.lr_scheduler_num_cycles % 1.0))))


def _polynomial(done: int, horizon: int, power: float, base_rate: float) -> float:
    if done > horizon:
        return POLYNOMIAL_END_RATE / base_rate
    left = (1 - done / horizon) ** power if horizon else 0.0
    return ((base_rate - POLYNOMIAL_END_RATE) * left + POLYNOMIAL_END_RATE) / base_rate
