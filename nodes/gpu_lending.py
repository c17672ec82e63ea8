"""Train while you work: ComfyUI's prompts borrow the GPU of the run that trains in the background, and give it back.

In: prompts on their way into ComfyUI's queue, and the queue itself. Out: loans (`kohya_bridge/lending.py`). A prompt waits at
the door until the trainer holds still, at most `DOOR_S`; the loan ends when the queue has been empty for a moment, whatever
became of the prompts. ComfyUI's models leave the GPU before the trainer's come back.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from aiohttp import web

from ..kohya_bridge.breathing import work_beside_a_loop
from ..kohya_bridge.errors import BridgeError, Unavailable
from . import host
from .off_loop import off_loop

if TYPE_CHECKING:
    from ..kohya_bridge.steering.lending import Lender

DOOR_S = 30.0
"""The longest that a prompt waits for the trainer to reach the end of its step (a measurement or a save takes longer than one)."""
POLL_S = 0.25
LINGER_S = 1.0
"""The queue must have been empty for so long: a batch of prompts comes one by one."""
LEAVE_S = 5.0
"""The longest that the trainer waits for ComfyUI's models to leave the GPU."""
SWITCH = "Wizdroid.Training.LendGpu"
MINUTES = "Wizdroid.Training.LendMinutes"

_doors = ("/prompt", "/api/prompt")
_arriving = 0
_in_order = asyncio.Lock()
_lender: Lender | None = None
_begun = threading.Event()


def begin(made: Lender) -> None:
    """Start lending. Called once, when the desk is there."""
    global _lender
    _lender = made
    _begun.set()
    threading.Thread(target=_tend, name="wizdroid-lending", daemon=True).start()


def lender() -> Lender:
    """The one lender of this process. Whoever asks before the workspace was looked at waits for that, a moment."""
    if not _begun.wait(DOOR_S) or _lender is None:
        raise Unavailable(
            "The training runs are not looked after yet.", "Queue again; ComfyUI's console says why."
        )
    return _lender


@web.middleware
async def make_room(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Let a prompt in once the trainer holds still. Prompts keep their order."""
    global _arriving
    if request.method != "POST" or request.path not in _doors or _lender is None:
        return await handler(request)
    _arriving += 1
    try:
        async with _in_order:
            await _until_free(_lender)
        return await handler(request)
    finally:
        _arriving -= 1


async def _until_free(lender: Lender) -> None:
    try:
        deadline = time.monotonic() + DOOR_S
        await off_loop(_lend, lender)
        while time.monotonic() < deadline and not await off_loop(lender.is_free):
            await asyncio.sleep(0.1)
    except (
        Exception
    ) as error:  # an edge to the host: neither a full disk nor a strange run may keep anybody from rendering
        known = isinstance(error, (BridgeError, OSError))
        host.log.warning("The GPU could not be borrowed from the training: %s", error, exc_info=not known)


def _lend(lender: Lender) -> None:
    if host.user_setting(SWITCH, True) is False:
        lender.take_back()
        return
    minutes = host.user_setting(MINUTES, 15)
    if isinstance(minutes, (int, float)) and minutes > 0:
        lender.most_s = 60.0 * minutes
    lender.lend()


def _tend() -> None:
    """Renew the loan while prompts wait or run, and end it afterwards."""
    work_beside_a_loop()
    idle_since: float | None = None
    while True:
        time.sleep(POLL_S)
        try:
            idle_since = _look(lender(), idle_since)
        except Exception:  # the outermost edge of a thread that lives as long as ComfyUI
            host.log.warning("Lending the GPU failed once and goes on.", exc_info=True)


def _look(lender: Lender, idle_since: float | None) -> float | None:
    """One look at the queue. Returns since when it has been empty, None while it is not."""
    if _is_busy():
        _lend(lender)
        return None
    if not lender.lends:
        return None
    now = time.monotonic()
    if idle_since is None or now - idle_since < LINGER_S:
        return idle_since or now
    if lender.was_taken():
        host.free_vram_soon()
        host.wait_until_freed(timeout_s=LEAVE_S)
    if not _is_busy():
        lender.take_back()
    return None


def _is_busy() -> bool:
    return _arriving > 0 or host.prompts_under_way() > 0
