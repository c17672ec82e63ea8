"""A thread pool whose threads nobody waits for when the process ends.

Python joins the threads of `concurrent.futures.ThreadPoolExecutor`, and so those of `asyncio.to_thread`, before it exits, once all
that is queued in them is done: Ctrl-C would wait for it. Here whatever runs at the exit is cut off, so work in it has to bear
that as it bears a power cut (files replaced atomically, locks that end with the process). Standard library only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
_Job = tuple[Future[Any], Callable[[], Any]]


class DaemonPool(Executor):
    """At most `most` daemon threads, started when there is work for them. As an `Executor`, it serves asyncio as well."""

    def __init__(self, most: int, *, name: str, begin: Callable[[], None] = lambda: None):
        """`begin` is called first in each of the threads."""
        self.most, self.name, self._begin = most, name, begin
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._unfinished = 0
        self._is_closed = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Have `fn` called in one of the threads. Raises RuntimeError after `shutdown`."""
        future: Future[T] = Future()
        with self._lock:
            if self._is_closed:
                raise RuntimeError(f"the pool {self.name} is closed")
            self._jobs.put((future, lambda: fn(*args, **kwargs)))
            self._unfinished += 1
            if len(self._threads) < min(self.most, self._unfinished):
                number = len(self._threads)
                thread = threading.Thread(target=self._work, name=f"{self.name}-{number}", daemon=True)
                self._threads.append(thread)
                thread.start()
        return future

    @property
    def under_way(self) -> int:
        """How many calls run or wait for a thread."""
        with self._lock:
            return self._unfinished

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work; `wait` until what is queued is done, or until what runs is with `cancel_futures`."""
        with self._lock:
            self._is_closed = True
            if cancel_futures:
                self._cancel_waiting()
            for _ in self._threads:
                self._jobs.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _cancel_waiting(self) -> None:
        try:
            while True:
                if (job := self._jobs.get_nowait()) is not None:
                    job[0].cancel()
        except Empty:
            return

    def _work(self) -> None:
        self._begin()
        while (job := self._jobs.get()) is not None:
            future, call = job
            if future.set_running_or_notify_cancel():
                _run(future, call)
            del future, call, job  # nothing is kept alive while the thread waits for more
            with self._lock:
                self._unfinished -= 1


def _run(future: Future[Any], call: Callable[[], Any]) -> None:
    try:
        result = call()
    except BaseException as error:  # whoever asks for the result gets it, KeyboardInterrupt included
        future.set_exception(error)
    else:
        future.set_result(result)
