"""A resume state that waits for the measurement of its step.

sd-scripts saves first and measures then, and can't measure before its first step. A state from before the measurement would make a
run that is killed in between miss that measurement for good, and with it perhaps its best LoRA or its early stop. So what upstream
wants to save is held until the measurement is told; killed before that, the run goes on from the state before.

In: how to write the state, and the random states of the moment. Out: the state, written with those, although upstream measures
with a seed of its own in between.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .ledger import RandomStates, capture_random_states, restore_random_states


class LateState:
    """At most one state that waits."""

    def __init__(self) -> None:
        self._write: Callable[[], None] | None = None
        self._then: RandomStates | None = None

    def hold(self, write: Callable[[], None]) -> None:
        self._write, self._then = write, capture_random_states()

    @property
    def waits(self) -> bool:
        return self._write is not None

    def land(self) -> None:
        """Write what waits. Call it while upstream still draws from its measurement's seed; it draws on from there."""
        write, then = self._write, self._then
        self._write = self._then = None
        if write is None or then is None:
            return
        during = capture_random_states()
        # Upstream puts these back when it has measured, and goes on from where numpy's stands.
        restore_random_states(replace(then, numpy=during.numpy))
        try:
            write()
        finally:
            restore_random_states(during)
