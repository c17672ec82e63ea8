"""Breathing: work in a thread beside an event loop lets the loop have its turn.

Python runs one thread at a time. A thread that asks for the interpreter gets it after 5 ms (`sys.getswitchinterval()`), and later
beside a thread that looks at one file after another: each look gives the interpreter away and takes it back before anybody else
is awake. An event loop asks for it several times for each answer. So what is long and made of many small parts calls `breathe`
between two of them. In a shell, where no loop waits, that costs a look at a variable. Standard library only.
"""

from __future__ import annotations

import threading
import time

WORK_S = 0.0003
REST_S = 0.0006
"""Shorter than what the system needs to wake a thread that sleeps: the rest lasts about as long as that."""

_here = threading.local()


def work_beside_a_loop() -> None:
    """From now on this thread rests when it breathes."""
    _here.rests_at = 0.0


def breathe() -> None:
    """Rest for a moment if this thread works beside an event loop and has worked for `WORK_S`."""
    rests_at = getattr(_here, "rests_at", None)
    if rests_at is not None and time.perf_counter() >= rests_at:
        time.sleep(REST_S)
        _here.rests_at = time.perf_counter() + WORK_S
