"""Which strength to use a LoRA at, and why, as far as pictures can decide.

In: the measures of a grid. Out: a `StrengthAdvice` with its reason in words. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from .cells import Checkpoint
from .measures import GridMeasures, Variant


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
    eye = "" if encoder != "thumbnail" else " (colour and layout only: no image encoder is installed)"
    best = max(alive, key=lambda each: each.gain or 0.0)
    floor = (best.gain if best.gain_low is None else best.gain_low) or 0.0
    if floor <= 0:
        nearest = min(alive, key=lambda each: abs(each.strength - 1.0)).strength
        reason = (
            f"By likeness to the held-out pictures no strength can be told from the base model{eye}; "
            f"{nearest:g} is nearest to 1.0, the strength it was trained at."
        )
        return StrengthAdvice(nearest, alive[0].strength, alive[-1].strength, reason + lost, measured=False)
    close = [
        each for each in alive if _reaches(each, floor) and (each.gain or 0.0) >= 0.9 * (best.gain or 0.0)
    ]
    reason = f"At {best.strength:g} pictures come closest to the held-out ones{eye}"
    others = ", ".join(f"{each.strength:g}" for each in close if each is not best)
    reason += f"; {others} can't be told from it, and the weakest of these is taken." if others else "."
    return StrengthAdvice(
        close[0].strength, close[0].strength, close[-1].strength, reason + lost, measured=True
    )


def _reaches(variant: Variant, floor: float) -> bool:
    """Whether a variant's interval reaches up to the lower end of the best one's."""
    high = variant.gain if variant.gain_high is None else variant.gain_high
    return (high or 0.0) >= floor
