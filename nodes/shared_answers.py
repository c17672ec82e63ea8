"""One answer for all who ask the same thing at the same time.

In: a key and the work that answers it. Out: its result, for everybody who asked before the work began; who asks later begins it anew,
so an answer is never older than its question. Twenty pages that all want the list after the same event cost one reading and one thread.
And what took long and several had asked for is begun again only after a while, in which more of them come together: no question takes
more than its share of the time, however many pages ask it without a pause. Who asks alone does not wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from time import monotonic, thread_time
from typing import Generic, TypeVar

from .off_loop import Room

T = TypeVar("T")
PAUSES = 3
"""So many times as long as a question took a thread's processor, it is not asked again."""
WORTH_A_PAUSE_S = 0.002
MOST_PAUSE_S = 1.0


@dataclass(eq=False)
class _Asked(Generic[T]):
    """A question whose work has not begun."""

    answer: asyncio.Future[T] | None = None
    by: int = 0
    """So many wait for the answer."""


class SharedAnswers(Generic[T]):
    """Of one event loop and one `Room`. What is answered must not be changed by whoever gets it."""

    def __init__(self, room: Room):
        self._room = room
        self._waiting: dict[Hashable, _Asked[T]] = {}
        self._due: dict[Hashable, float] = {}
        """When a question that took long may be asked again."""

    async def get(self, key: Hashable, work: Callable[[], T]) -> T:
        """What `work` returns or raises, now or by someone who asked the same and whose work has not begun. Raises Busy."""
        asked = self._waiting.get(key)
        if asked is None or asked.answer is None:
            asked = self._waiting[key] = _Asked()
            answer = asked.answer = asyncio.ensure_future(self._in_its_turn(key, asked, work))
            answer.add_done_callback(partial(self._forget, key, asked))
        asked.by += 1
        # Shielded: one page that leaves takes nobody's answer along.
        return await asyncio.shield(asked.answer)

    async def _in_its_turn(self, key: Hashable, asked: _Asked[T], work: Callable[[], T]) -> T:
        pause_s = self._due.pop(key, 0.0) - monotonic()
        if pause_s > 0:
            await asyncio.sleep(pause_s)
        answer, took_s = await self._room.do(self._begun, key, work)
        if took_s > WORTH_A_PAUSE_S and asked.by > 1:
            self._rest(key, monotonic() + min(MOST_PAUSE_S, PAUSES * took_s))
        return answer

    def _begun(self, key: Hashable, work: Callable[[], T]) -> tuple[T, float]:
        """In a thread: the answer, and the seconds that the processor worked for it."""
        self._waiting.pop(key, None)  # in one step of the interpreter, so safe beside the loop's thread
        began = thread_time()
        return work(), thread_time() - began

    def _rest(self, key: Hashable, until: float) -> None:
        now = monotonic()
        self._due = {other: due for other, due in self._due.items() if due > now}
        self._due[key] = until

    def _forget(self, key: Hashable, asked: _Asked[T], done: asyncio.Future[T]) -> None:
        """Work that never began, such as where too much waits."""
        if self._waiting.get(key) is asked:
            del self._waiting[key]
        if not done.cancelled():
            done.exception()  # it was told to whoever still waits; nobody has to ask again
