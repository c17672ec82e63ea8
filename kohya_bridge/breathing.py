"""Breathing: work in a thread beside an event loop lets the loop have its turn.

Python runs one thread at a time. A thread that asks for the interpreter gets it after 5 ms (`sys.getswitchinterval()`), and later
beside a thread that looks at one file after another: each look gives the interpreter away and takes it back before anybody else
is awake. An event loop asks for it several times for each answer. So what is long and made of many small parts calls `breathe`
between two of them. Beside a loop that only waits, nobody rests: whether it works is told by its thread's processor time, where the
system has a clock of it (Linux). In a shell, where no loop waits, breathing costs a look at a variable. Standard library only.
"""

from __future__ import annotations

import threading
import time

WORK_S = 0.0003
REST_S = 0.0006
"""Shorter than what the system needs to wake a thread that sleeps: the rest lasts about as long as that."""
MOST_S = 0.01
AT_WORK_S = 0.05
"""A loop that did anything within so long is at work: the next thing is likely to come soon."""

_here = threading.local()
_next_turn = 0.0
"""When the interpreter is free for the next of all threads that rest: together they take no more of it than one of them alone."""


class Loop:
    """The thread of the event loop beside which others work."""

    def __init__(self) -> None:
        self._clock: int | None = None
        self._spent_s = 0.0
        self._worked = 0.0

    def is_here(self) -> None:
        """Called in the loop's own thread; costs a look at a variable but for the first time."""
        if getattr(_here, "clock", None) is None:
            # Of the own thread only: asking for that of one that has ended crashes.
            _here.clock = _clock_of(threading.get_ident())
        self._clock = _here.clock

    def is_at_work(self) -> bool:
        """Whether it did something within `AT_WORK_S`, or nobody can tell."""
        if self._clock is None:
            return True
        try:
            spent_s = time.clock_gettime(self._clock)
        except OSError:  # its thread has ended
            self._clock = None
            return True
        now = time.perf_counter()
        if spent_s != self._spent_s:
            self._spent_s, self._worked = spent_s, now
        return now - self._worked < AT_WORK_S


LOOP = Loop()
"""Of this process."""


def work_beside_a_loop() -> None:
    """From now on this thread rests when it breathes."""
    _here.rests_at = 0.0


def breathe() -> None:
    """Rest for a moment if this thread works beside an event loop that is at work, and has worked for `WORK_S`."""
    rests_at = getattr(_here, "rests_at", None)
    if rests_at is not None and time.perf_counter() >= rests_at:
        if LOOP.is_at_work():
            _rest()
        _here.rests_at = time.perf_counter() + WORK_S


def _rest() -> None:
    """Until the next turn that no other thread has taken. That two take the same one now and then does no harm."""
    global _next_turn
    now = time.perf_counter()
    turn = max(now + REST_S, min(_next_turn, now + MOST_S))
    _next_turn = turn + WORK_S + REST_S
    time.sleep(turn - now)


def _clock_of(thread: int) -> int | None:
    return time.pthread_getcpuclockid(thread) if hasattr(time, "pthread_getcpuclockid") else None
