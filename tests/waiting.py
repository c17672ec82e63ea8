"""Waiting for what another process, thread or page does: look again until it is so, instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_S = 60.0  # many times what a quick machine takes: a test that waits in vain fails anyway, only later
Found = TypeVar("Found")


def wait_until(
    condition: Callable[[], Found],
    told: str | Callable[[], str] = "",
    *,
    seconds: float = PATIENCE_S,
    poll_s: float = 0.02,
) -> Found:
    """What `condition()` gives as soon as it is true; after so many seconds fail with what `told` says."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > until:
            raise AssertionError(f"not so after {seconds:g} s: {told() if callable(told) else told}")
        time.sleep(poll_s)
    return found
