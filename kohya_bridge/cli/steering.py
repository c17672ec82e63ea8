"""Verbs about runs that exist: runs, status, watch, stop, pause, unpause, move, delete, mend, advance.

In: run ids. Out: what is going on, or a request to the run. Every verb returns at once but `watch`.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from ..counted import counted
from ..engines.failures import NEEDS_LESS_MEMORY, safer_settings
from ..errors import Conflict, InvalidInput, StorageError
from ..plan import TrainingPlan
from ..run_folder import RunFolder
from ..run_state import RunState
from ..runs.damage import damages_of
from ..runs.run_comparison import compare_runs
from ..runs.run_summary import RunSummary
from . import exit_codes
from .context import Context
from .following import describe
from .parsing import Verbs
from .training import show_to_the_end

LOOKING_S = 5.0
"""How long a verb that only shows waits for the lock."""


def add(verbs: Verbs) -> None:
    runs = verbs.add("runs", list_runs, "List every run, the newest first, or say in what two differ.")
    runs.add_argument(
        "words", nargs="*", metavar="SLUG | diff RUN RUN", help="only runs of this character; or two run ids"
    )
    status = verbs.add("status", show_status, "Show a run, or what trains now and what waits.")
    status.add_argument("run", nargs="?", help="run id, or its first digits")
    watch = verbs.add("watch", watch_run, "Follow a run to its end; Ctrl-C leaves it alone.")
    watch.add_argument(
        "run", nargs="?", help="run id, or its first digits (default: the one that trains now)"
    )
    stop = verbs.add("stop", stop_run, "Ask a run to stop after its step, with LoRA and state saved.")
    stop.add_argument("run", help="run id, or its first digits")
    stop.add_argument(
        "--at-once", action="store_true", help="interrupt it now, and kill it if it does not end"
    )
    for name, action, summary in (
        ("pause", pause_run, "Hold a run at its next step; it keeps the GPU slot."),
        ("unpause", unpause_run, "Let a paused run go on."),
        ("delete", delete_run, "Move a run that is over into the workspace's trash."),
        ("mend", mend_run, "Put aside what can't be read in a run's folder; the rest of it stays."),
    ):
        verbs.add(name, action, summary).add_argument("run", help="run id, or its first digits")
    move = verbs.add("move", move_run, "Give a waiting run another place in the queue.")
    move.add_argument("run", help="run id, or its first digits")
    move.add_argument("position", type=int, help="1 is next")
    verbs.add(
        "advance", advance, "Close what has died and start the next run in the queue, if the slot is free."
    )


def list_runs(context: Context, arguments: argparse.Namespace) -> int:
    words = arguments.words
    if words[:1] == ["diff"] and len(words) == 3:
        return _say_differences(context, *words[1:])
    if len(words) > 1:
        raise InvalidInput(
            f"`runs {' '.join(words)}` is neither a character nor two runs.",
            "Write `runs alice`, or `runs diff RUN RUN` with two run ids.",
        )
    rows = [row for row in context.desk.runs() if not words or row.slug == words[0]]
    for row in rows:
        context.out.emit(row.to_json())
    if not rows:
        context.out.say(f"No runs in {context.workspace.root}.")
        return exit_codes.DONE
    context.out.table(
        ("run", "character", "status", "step", "engine", "preset", "base model", "best", "since"),
        [_row(row) for row in rows],
    )
    for row in rows:
        if row.set_aside:
            context.out.say(f"{row.slug}/{row.run_id} is set aside: {row.set_aside}")
        if row.odd_lines:
            context.out.say(f"{row.slug}/{row.run_id}: {row.odd_lines}")
    return exit_codes.DONE


def _say_differences(context: Context, old: str, new: str) -> int:
    result = compare_runs(context.desk.run(old), context.desk.run(new))
    for each in result.differences:
        context.out.emit(each.__dict__)
    context.out.emit({"verdict": result.verdict, "separable": result.separable})
    context.out.table(
        ("part", "field", old, new),
        [(each.part, each.field, each.old, each.new) for each in result.differences],
    )
    context.out.say(result.verdict)
    return exit_codes.DONE


def _row(row: RunSummary) -> tuple[object, ...]:
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(row.created))
    place = f" ({row.queue_position})" if row.queue_position else ""
    step = f"{row.step}/{row.total}"
    return (
        row.run_id,
        row.slug,
        "set aside" if row.set_aside else row.status + place,
        step,
        row.engine,
        row.preset,
        row.base_model,
        row.best_step,
        since,
    )


def show_status(context: Context, arguments: argparse.Namespace) -> int:
    desk, out = context.desk, context.out
    _reconcile(context)
    if arguments.run:
        run = desk.run(arguments.run)
        _show_run(context, run, desk.state(run.run_id))
        return exit_codes.DONE
    living = [run for run in desk.slot.open_attempts() if desk.is_alive(run.run_id)]
    out.emit({"training": [run.run_id for run in living], "queue": desk.queue()})
    for run in living:
        out.say(f"{run.slug}/{run.run_id}: {describe(desk.state(run.run_id))}")
    for run_id in desk.queue():
        out.say(f"{desk.run(run_id).slug}/{run_id}: {describe(desk.state(run_id))}")
    if not living and not desk.queue():
        out.say("Nothing trains and nothing waits.")
    for ask in desk.answers.asks():
        out.say(f"{ask.slug}/{ask.run_id}: {_ASKS[ask.kind]}")
    return exit_codes.DONE


_ASKS = {
    "order": "waits by an order that was given elsewhere; `resume` puts it in line here.",
    "prompt": "a prompt came along with it; ComfyUI's panel asks whether to queue it.",
    "grids": "grids came along with it; ComfyUI's panel asks whether to render them.",
}


def _reconcile(context: Context) -> None:
    """Bring the records in line with what is, where the workspace can be written; else show them as they stand."""
    try:
        context.desk.reconcile(patience_s=LOOKING_S)
    except (StorageError, Conflict) as error:
        context.out.say(f"{error.problem} Shown as it stands.")


def _show_run(context: Context, run: RunFolder, state: RunState) -> None:
    out = context.out
    damages = damages_of(run)
    told = {"damages": [each.to_json() for each in damages]} if damages else {}
    out.emit({"run_id": run.run_id, "slug": run.slug, "dir": str(run.dir), "state": state.to_json(), **told})
    out.say(f"{run.slug}/{run.run_id}: {describe(state)}")
    for each in damages:
        out.say(f"  {'odd lines' if each.is_a_part else 'damaged':<12}{each.problem} {each.fix}")
    if any(not each.can_be_mended and not each.is_a_part for each in damages):
        return
    for label, value in _details(run, state):
        out.say(f"  {label:<12}{value}")


def _details(run: RunFolder, state: RunState) -> list[tuple[str, Any]]:
    plan = run.plan()
    rows = [
        ("problem", f"{state.problem} {state.fix}".strip()),
        ("base model", f"{plan.base_model.name} ({plan.base_model.family})"),
        ("dataset", f"{plan.dataset.slug}, {counted(plan.dataset.images, 'picture')}"),
        ("engine", f"{plan.engine} {plan.engine_version}, preset {plan.preset or 'none'}"),
        ("checkpoints", ", ".join(str(row["step"]) for row in state.checkpoints)),
        ("best", state.best["reason"] if state.best else ""),
        ("folder", run.dir),
        *_safer(plan, state),
    ]
    return [(label, value) for label, value in rows if value]


def _safer(plan: TrainingPlan, state: RunState) -> list[tuple[str, str]]:
    """The memory ladder of a run that memory ended: each rung with what it costs."""
    if state.status != "failed" or state.code not in NEEDS_LESS_MEMORY:
        return []
    rungs = safer_settings(plan.settings.model_dump(), plan.base_model.family)
    return [("safer", f"{each.title} ({each.changes_text()}). {each.price}") for each in rungs]


def watch_run(context: Context, arguments: argparse.Namespace) -> int:
    desk = context.desk
    _reconcile(context)
    run_id = arguments.run or _what_trains(context)
    if run_id is None:
        context.out.say("Nothing trains and nothing waits.")
        return exit_codes.DONE
    return show_to_the_end(context, desk.run(run_id), interrupt_stops=False)


def _what_trains(context: Context) -> str | None:
    living = [run.run_id for run in context.desk.slot.open_attempts()]
    return next(iter([*living, *context.desk.queue()]), None)


def stop_run(context: Context, arguments: argparse.Namespace) -> int:
    run = context.desk.run(arguments.run)
    context.desk.stop(run.run_id, at_once=arguments.at_once)
    state = context.desk.state(run.run_id)
    context.out.emit({"run_id": run.run_id, "asked": "stop", "status": state.status})
    if state.is_finished:
        context.out.say(f"Run {run.run_id} is {state.status}.")
    else:
        when = "now" if arguments.at_once else "after its step, with LoRA and state saved"
        context.out.say(f"Asked run {run.run_id} to stop {when}.")
    return exit_codes.DONE


def pause_run(context: Context, arguments: argparse.Namespace) -> int:
    return _asked(context, arguments.run, "pause", context.desk.pause)


def unpause_run(context: Context, arguments: argparse.Namespace) -> int:
    return _asked(context, arguments.run, "unpause", context.desk.unpause)


def _asked(context: Context, run_id: str, what: str, ask: Any) -> int:
    run = context.desk.run(run_id)
    ask(run.run_id)
    context.out.emit({"run_id": run.run_id, "asked": what})
    context.out.say(f"Asked run {run.run_id} to {what}.")
    return exit_codes.DONE


def delete_run(context: Context, arguments: argparse.Namespace) -> int:
    run = context.desk.run(arguments.run)
    kept = context.desk.delete(run.run_id)
    context.out.emit({"run_id": run.run_id, "moved_to": str(kept)})
    context.out.say(f"Moved run {run.run_id} to {kept}.")
    return exit_codes.DONE


def mend_run(context: Context, arguments: argparse.Namespace) -> int:
    run = context.desk.run(arguments.run)
    moved = context.desk.answers.mend(run)
    left = [each for each in damages_of(run) if not each.is_a_part]
    context.out.emit({"run_id": run.run_id, "moved": moved, "left": [each.to_json() for each in left]})
    context.out.say(f"Put aside: {', '.join(moved)}." if moved else "There was nothing to put aside.")
    for each in left:
        context.out.say(f"{each.problem} {each.fix}")
    return exit_codes.NOT_WELL if left else exit_codes.DONE


def move_run(context: Context, arguments: argparse.Namespace) -> int:
    run = context.desk.run(arguments.run)
    context.desk.move(run.run_id, arguments.position)
    context.out.emit({"queue": context.desk.queue()})
    context.out.say("Queue: " + ", ".join(context.desk.queue()))
    return exit_codes.DONE


def advance(context: Context, arguments: argparse.Namespace) -> int:
    context.desk.reconcile()
    living = [run.run_id for run in context.desk.slot.open_attempts()]
    context.out.emit({"training": living, "queue": context.desk.queue()})
    context.out.say(f"Training: {', '.join(living) or 'nothing'}. Waiting: {len(context.desk.queue())}.")
    return exit_codes.DONE
