"""One answer for all who ask the same thing at the same time.

In: a key and the work that answers it. Out: its result, for everybody who asked before the work began; who asks later begins it anew,
so an answer is never older than its question. Twenty pages that all want the list after the same event cost one reading and one thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from .off_loop import Room

T = TypeVar("T")


class SharedAnswers(Generic[T]):
    """Of one event loop and one `Room`. What is answered must not be changed by whoever gets it."""

    def __init__(self, room: Room):
        self._room = room
        self._waiting: dict[Hashable, asyncio.Future[T]] = {}

    async def get(self, key: Hashable, work: Callable[[], T]) -> T:
        """What `work` returns or raises, now or by someone who asked the same and whose work has not begun. Raises Busy."""
        asked = self._waiting.get(key)
        if asked is None:
            asked = asyncio.ensure_future(self._room.do(self._begun, key, work))
            self._waiting[key] = asked
            asked.add_done_callback(lambda done: self._forget(key, done))
        # Shielded: one page that leaves takes nobody's answer along.
        return await asyncio.shield(asked)

    def _begun(self, key: Hashable, work: Callable[[], T]) -> T:
        self._waiting.pop(key, None)  # in one step of the interpreter, so safe beside the loop's thread
        return work()

    def _forget(self, key: Hashable, done: asyncio.Future[T]) -> None:
        """Work that never began, such as where too much waits."""
        if self._waiting.get(key) is done:
            del self._waiting[key]
        if not done.cancelled():
            done.exception()  # it was told to whoever still waits; nobody has to ask again
