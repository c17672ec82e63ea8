"""The desk of this ComfyUI: made when first asked for, watching from the server's start on.

In: events of runs. Out: the same events to every open page, and the held-back parts of canvases into ComfyUI's queue.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from ..kohya_bridge.breathing import OTHERS, work_beside_a_loop
from ..kohya_bridge.run_folder import RunFolder
from ..kohya_bridge.runs import held_prompt
from ..kohya_bridge.workspace import Workspace
from . import gpu_lending, host, unattended_validation
from .routes import live_events

if TYPE_CHECKING:
    from ..kohya_bridge.desk import Desk

_desk: Desk | None = None
_making = threading.Lock()


def desk() -> Desk:
    """The one desk of this process. Made lazily: its modules are no part of what importing the pack costs."""
    global _desk
    with _making:
        if _desk is None:
            from ..kohya_bridge.desk import Desk

            _desk = Desk(
                host.workspace(),
                checkpoint_dirs=host.model_dirs("checkpoints"),
                lora_dirs=host.model_dirs("loras"),
                tokenizer_dir=host.tokenizer_dir(),
                model_dirs={kind: host.model_dirs(kind) for kind in host.MODEL_KINDS},
                import_dirs=host.import_dirs(),
            )
        return _desk


class DeskWhenAsked:
    """Stands in for the desk where something only keeps it: it is made when the first question comes."""

    @property
    def workspace(self) -> Workspace:
        return host.workspace()

    def __getattr__(self, name: str) -> Any:
        return getattr(desk(), name)


async def begin() -> None:
    """Find what the last ComfyUI left: living runs are followed again, dead ones told as such, finished ones go on.

    ComfyUI answers its first request after this has returned, so nothing here waits: not for a lock that another program holds,
    not for the folders of a thousand runs. And nothing here raises: ComfyUI starts, whatever lies in the workspace.
    """
    OTHERS.loop_is_here()
    threading.Thread(target=_begin, name="wizdroid-begin", daemon=True).start()


def _begin() -> None:
    work_beside_a_loop()
    try:
        from ..kohya_bridge.steering.lending import Lender

        desk().start_watching(on_event)
        gpu_lending.begin(Lender(desk().slot))
        unattended_validation.begin(desk().runs_with_unattended_validation)
        _queue_all_held()
    except Exception:  # the outermost edge: ComfyUI goes on without a watch over the runs
        host.log.exception("The training runs could not be looked after; ComfyUI goes on without.")


def on_event(run: RunFolder, event: dict[str, Any]) -> None:
    """One new line of a run's `events.jsonl`; called from the desk's watching thread."""
    live_events(host.send_event)(run, event)
    if event["kind"] == "run_started":
        host.free_vram_soon()  # it may have waited in line for hours, and pictures were made meanwhile
    elif event["kind"] == "checkpoint" and run.unattended_file.is_file():
        unattended_validation.look_at(run)
    elif event["kind"] == "run_finished" and event["outcome"] == "completed":
        queue_held(run)


def queue_held(run: RunFolder) -> None:
    """Queue the parts of canvases that waited for this run, if any do."""
    for waiting in held_prompt.claim(run):
        try:
            prompt_id = host.queue_prompt(
                waiting.prompt, client_id=waiting.client_id, extra_pnginfo=waiting.extra_pnginfo
            )
            host.log.info("Run %s has finished; what waited for it is queued: %s.", run.run_id, prompt_id)
        except (OSError, ValueError) as error:
            host.log.error(
                "Run %s has finished, but what waited for it could not be queued: %s. Queue the canvas again.",
                run.run_id,
                error,
            )


def agreed(run: RunFolder) -> None:
    """A person let something of this run act that had come along with its folder."""
    unattended_validation.look_at(run)
    if run.state().status == "completed":
        queue_held(run)


def _queue_all_held() -> None:
    host.wait_until_it_answers()  # queueing a prompt asks it
    for run in desk().runs_with_held_prompts():
        with desk().slot.aside.sparing(run, "queue"):
            if run.state().status == "completed":
                queue_held(run)
