"""See `scripts.foreign_trials`."""

from __future__ import annotations

import logging
import sys
import warnings
from collections import Counter

from . import RIGHT, TRIALS, outcome_of
from .trial import CRASHED, WRONG


def main() -> int:
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    sums = Counter[str]()
    for kind, what, act in TRIALS:
        outcome, said = outcome_of(act)
        sums[outcome] += 1
        print(f"{outcome:8}{kind:11}{what}", flush=True)
        if outcome != RIGHT:
            print("\n".join(f"          | {line}" for line in said.splitlines()[-12:]))
    print(
        f"{sum(sums.values())} trials: "
        + ", ".join(f"{sums[each]} {each}" for each in (RIGHT, WRONG, CRASHED))
    )
    return 0 if sums[RIGHT] == sum(sums.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
