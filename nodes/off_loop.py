"""Work beside ComfyUI's event loop, in threads of our own: never in the loop's own pool, which serves ComfyUI's page and files, and
whose threads ComfyUI's end (Ctrl-C) waits for.

In: a function that reads or writes files, or waits for a lock. Out: its result, awaited. Each kind of work has threads for itself, so
that a panel that waits for a lock keeps neither another panel from looking nor a prompt from coming in. Importing this needs no ComfyUI.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from ..kohya_bridge.breathing import OTHERS, work_beside_a_loop
from ..kohya_bridge.daemon_pool import DaemonPool
from ..kohya_bridge.errors import Busy

T = TypeVar("T")


class Room:
    """So many threads for one kind of work, and a line before them that is not endless."""

    def __init__(self, threads: int, *, name: str, most_waiting: int):
        self._pool = DaemonPool(threads, name=f"wizdroid-{name}", begin=work_beside_a_loop)
        self._most = threads + most_waiting

    async def do(self, work: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """`work(*arguments, **named)` in a thread, with this task's context variables (ComfyUI keeps the running node in one).

        Raises:
            Busy: too much waits already.
        """
        OTHERS.loop_is_here()
        if self._pool.under_way >= self._most:
            raise Busy(
                "The panel of this ComfyUI is asked for more than it can answer now.",
                "Try again in a moment; a disk that hangs shows in ComfyUI's console.",
            )
        call = partial(contextvars.copy_context().run, work, *arguments, **named)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)


LOOKING = Room(2, name="looking", most_waiting=64)
"""Questions of the panel. More threads would not answer sooner: the interpreter runs one at a time."""
STEERING = Room(4, name="steering", most_waiting=32)
"""What changes something, and so may wait for the lock between processes."""
_NODES = Room(8, name="work", most_waiting=10_000)
"""Nodes that run, and prompts on their way in. ComfyUI runs one prompt at a time, and a person's prompts are never sent away."""


async def off_loop(work: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """`work` for a node or a prompt, in a thread."""
    return await _NODES.do(work, *arguments, **named)
