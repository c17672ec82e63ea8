"""Breathing: work in a thread beside an event loop lets the loop have its turn.

Python runs one thread at a time. A thread that asks for the interpreter gets it after 5 ms (`sys.getswitchinterval()`), and later
beside a thread that looks at one file after another: each look gives the interpreter away and takes it back before anybody else
is awake. An event loop asks for it several times for each answer. So what is long and made of many small parts calls `breathe`
between two of them. Where nobody else works, nobody rests: the loop only waits, and no prompt runs. That is told by processor times,
where the system has a clock of a single thread (Linux). In a shell, where no loop waits, breathing costs a look at a variable.
Standard library only.
"""

from __future__ import annotations

import threading
import time

WORK_S, REST_S = 0.0001, 0.0008
"""While others are at work. A question that the loop answers in a millisecond meets one or two parts of our work, each a small share of it."""
BLIND_WORK_S, BLIND_REST_S = 0.0003, 0.0006
"""Always, where nobody can tell whether others are at work: a list that is read for the first time must not take ten times as long."""
MOST_S = 0.01
"""Of waiting for a turn, however many threads there are."""
AT_WORK_S = 0.02
"""Who did anything within so long is at work: the next thing is likely to come soon."""
WINDOW_S = 0.01
MUCH = 0.2
"""Of one processor: so much, over a window or longer, is spent by threads that do something, such as one that renders a prompt."""

_here = threading.local()
_next_turn = 0.0
"""When the interpreter is free for the next of all threads that rest: together they take no more of it than one of them alone."""


class Others:
    """What else of this process is at work: the thread of the event loop, and those that do not breathe."""

    def __init__(self) -> None:
        self._loop: int | None = None
        self._loop_s = 0.0
        self._worked = 0.0
        self._looked = self._process_s = self._ours_before_s = 0.0
        self._ours_s = 0.0

    def loop_is_here(self) -> None:
        """Called in the loop's own thread; costs a look at a variable but for the first time."""
        if getattr(_here, "clock", None) is None:
            # Of the own thread only: asking for that of one that has ended crashes.
            _here.clock = _clock_of(threading.get_ident())
        self._loop = _here.clock

    @property
    def are_seen(self) -> bool:
        return self._loop is not None

    def breathed(self, spent_s: float) -> None:
        """A thread that breathes has used so much of a processor since it last did. What two of them tell in the same moment
        may be lost, and then they rest for once where they need not."""
        self._ours_s += spent_s

    def are_at_work(self) -> bool:
        """Whether any did something within `AT_WORK_S`, or nobody can tell."""
        if self._loop is None:
            return True
        try:
            loop_s = time.clock_gettime(self._loop)
        except OSError:  # its thread has ended
            self._loop = None
            return True
        now = time.perf_counter()
        if loop_s != self._loop_s or self._much_is_done(now):
            self._loop_s, self._worked = loop_s, now
        return now - self._worked < AT_WORK_S

    def _much_is_done(self, now: float) -> bool:
        """By threads that do not breathe, since this was asked for the last time a window ago or earlier."""
        took_s = now - self._looked
        if took_s < WINDOW_S:
            return False
        process_s, ours_s = time.process_time(), self._ours_s
        others_s = process_s - self._process_s - (ours_s - self._ours_before_s)
        self._looked, self._process_s, self._ours_before_s = now, process_s, ours_s
        return others_s > MUCH * took_s


OTHERS = Others()
"""Of this process."""


def work_beside_a_loop() -> None:
    """From now on this thread rests when it breathes."""
    _here.rests_at = 0.0
    _here.spent_s = time.thread_time()


def breathe() -> None:
    """Rest for a moment if this thread works beside an event loop, others are at work, and it has worked for so long."""
    rests_at = getattr(_here, "rests_at", None)
    if rests_at is not None and time.perf_counter() >= rests_at:
        spent_s = time.thread_time()
        OTHERS.breathed(spent_s - _here.spent_s)
        _here.spent_s = spent_s
        work_s, rest_s = (WORK_S, REST_S) if OTHERS.are_seen else (BLIND_WORK_S, BLIND_REST_S)
        if OTHERS.are_at_work():
            _rest(work_s, rest_s)
        _here.rests_at = time.perf_counter() + work_s


def _rest(work_s: float, rest_s: float) -> None:
    """Until the next turn that no other thread has taken. That two take the same one now and then does no harm."""
    global _next_turn
    now = time.perf_counter()
    turn = max(now + rest_s, min(_next_turn, now + MOST_S))
    _next_turn = turn + work_s + rest_s
    time.sleep(turn - now)


def _clock_of(thread: int) -> int | None:
    return time.pthread_getcpuclockid(thread) if hasattr(time, "pthread_getcpuclockid") else None
