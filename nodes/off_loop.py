"""Work beside an event loop, in threads that ComfyUI's end doesn't wait for.

In: a function that reads or writes files, or waits for a lock. Out: its result, awaited. `asyncio.to_thread` would do the same and
keep a ComfyUI that was told to end (Ctrl-C) alive until the function returns. Importing this needs no ComfyUI.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from ..kohya_bridge.daemon_pool import DaemonPool

T = TypeVar("T")
_pool = DaemonPool(16, name="wizdroid-work")


async def off_loop(work: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """`work(*arguments, **named)` in a thread, with this task's context variables (ComfyUI keeps the running node in one)."""
    call = partial(contextvars.copy_context().run, work, *arguments, **named)
    return await asyncio.get_running_loop().run_in_executor(_pool, call)
