"""Validation after every checkpoint: one thread that puts the captured grids into ComfyUI's queue, one prompt at a time.

In: runs that ask for it (`kohya_bridge/unattended.py`) and their checkpoints as they come. Out: prompts in ComfyUI's own queue,
and an event to every page when a grid is there or will not come. One at a time, so that a person's prompts find a place in
between. After a restart it goes on with the checkpoints that have no grid yet.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from ..kohya_bridge.breathing import work_beside_a_loop
from ..kohya_bridge.errors import BridgeError
from ..kohya_bridge.reasons import reason_of
from ..kohya_bridge.run_folder import RunFolder
from ..kohya_bridge.runs import unattended
from . import host

PICTURES_EVENT = "wizdroid.training.pictures"
POLL_S = 0.5

_asked: SimpleQueue[RunFolder] = SimpleQueue()


def look_at(run: RunFolder) -> None:
    """There may be something to validate in that run. From any thread; it costs nothing."""
    _asked.put(run)


def begin(earlier_runs: Callable[[], list[RunFolder]]) -> None:
    """Start the thread. Called once; `earlier_runs` are those that a ComfyUI before this one looked after."""
    threading.Thread(target=_work, args=(earlier_runs,), name="wizdroid-validating", daemon=True).start()


def _work(earlier_runs: Callable[[], list[RunFolder]]) -> None:
    work_beside_a_loop()
    host.wait_until_it_answers()
    for run in earlier_runs():
        look_at(run)
    while True:
        run = _asked.get()
        try:
            _validate(run)
        except (
            Exception
        ) as error:  # the outermost edge of the thread: one run's folder is no other run's business
            known = isinstance(error, BridgeError)
            host.log.warning(
                "Run %s can't be validated unattended: %s", run.run_id, error, exc_info=not known
            )


def _validate(run: RunFolder) -> None:
    """Validate the checkpoints that the run has now, in their order, and wait for each."""
    while (row := unattended.next_checkpoint(run)) is not None:
        how = _render(run, row)
        unattended.close(run, row["sha256"], how)
        host.send_event(PICTURES_EVENT, {"run_id": run.run_id, "slug": run.slug})
        if how != "success":
            host.log.warning(
                "The grid of step %s of run %s was not made: %s.",
                row["step"],
                run.run_id,
                how or "taken out of the queue",
            )


def _render(run: RunFolder, row: dict[str, Any]) -> str:
    """Queue the grids of one checkpoint and wait until they are over. Returns `success` or what went wrong."""
    wanted = unattended.read(run)
    if wanted is None:
        return "nobody asks for it any more"
    try:
        prompt_id = host.queue_prompt(
            wanted.for_step(int(row["step"])),
            client_id=wanted.client_id,
            extra_pnginfo=wanted.extra_pnginfo,
        )
    except ValueError as error:
        return f"ComfyUI refused it: {reason_of(error)}"
    host.log.info("Run %s: the grid of step %s is queued: %s.", run.run_id, row["step"], prompt_id)
    while not host.prompt_is_over(prompt_id):
        time.sleep(POLL_S)
    return host.prompt_outcome(prompt_id)
