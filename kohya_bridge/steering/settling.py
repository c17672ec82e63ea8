"""Settling: what is written when an attempt is over, whoever notices it first.

In: a run whose child is known dead, and how it ended if somebody saw it. Out: exactly one verdict as `run_finished`, the
chosen checkpoint, the loss series, a line in `experiments.jsonl`. A child that reported its own end is believed, except
that a completed run must have its LoRA: whole, finite, with the planned steps.
"""

from __future__ import annotations

from typing import Any

from ..counted import counted
from ..engines.best import leave_best, tell_best
from ..engines.environment import write_environment
from ..engines.failures import explain_death
from ..engines.losses import write_losses
from ..engines.saved import clear_leftovers
from ..errors import UnusableFile
from ..models.lora_check import lora_problems
from ..processes import describe_exit
from ..run_folder import RunFolder
from ..run_state import RunState
from ..runs.experiments import record_experiment
from ..runs.run_log import copy_log
from ..stop_ladder import read_climbed
from ..supervisor import StartOutcome
from ..workspace import Workspace


def settle(run: RunFolder, *, exit_code: int | None, not_started: StartOutcome | None = None) -> RunState:
    """Write what the ended attempt left unsaid and return the final state. The caller holds the slot's lock.

    A state of `completed` afterwards means that the final LoRA was checked; see `completion_problems`. Whoever is cut short in
    here is followed by another who does it again: nothing is written twice.
    """
    clear_leftovers(run.files)
    state = run.state()
    climbed = read_climbed(run.stopping_file)
    if not state.is_finished:
        _tell_climbed(run, climbed)
        run.append("run_finished", **_verdict(run, state, exit_code, climbed, not_started))
    elif state.status == "completed" and (problems := completion_problems(run, state)):
        revoke_completion(run, problems)
    write_losses(run.dir)
    run.files.clear(run.stopping_file)
    _choose_best(run)
    final = run.state()
    workspace = Workspace.at(run.dir.parents[2])
    copy_log(workspace, run)
    write_environment(run)
    record_experiment(workspace, run, final, exit_code=exit_code)
    return final


def _tell_climbed(run: RunFolder, climbed: list[dict[str, Any]]) -> None:
    """A notice for each rung of the stop ladder, except those that are told in this attempt already."""
    told: set[str] = set()
    for event in run.events():
        if event["kind"] in ("queued", "run_started"):
            told.clear()
        elif event["kind"] == "notice":
            told.add(event.get("problem", ""))
    for rung in climbed:
        sentence = f"Stop: {rung['how']}."
        if sentence not in told:
            run.append("notice", level="info", problem=sentence, fix="", code="stop_ladder")


def completion_problems(run: RunFolder, state: RunState | None = None) -> list[str]:
    """Why a run that says it completed has not, or nothing: its final LoRA must be there, whole, finite and complete."""
    state = state or run.state()
    planned = run.plan().settings.max_train_steps
    final = [row for row in state.checkpoints if row.get("final")]
    if not final:
        return ["It never saved a final LoRA."]
    last = max(final, key=lambda row: row["step"])
    try:
        problems = lora_problems(run.files.plain(last["file"]), steps=last["step"])
    except OSError as error:
        return [error.problem if isinstance(error, UnusableFile) else "Its final LoRA is gone."]
    if last["step"] != planned and not _stopped_early(state):
        problems.append(
            f"The final LoRA is of step {last['step']}; {counted(planned, 'step was', 'steps were')} planned."
        )
    return problems


def _stopped_early(state: RunState) -> bool:
    """Whether the engine ended before the planned step on purpose, by the plan's own early stop."""
    return any(row.get("code") == "early_stop" for row in state.notices)


def _verdict(
    run: RunFolder,
    state: RunState,
    exit_code: int | None,
    climbed: list[dict[str, Any]],
    not_started: StartOutcome | None,
) -> dict[str, Any]:
    saved = run.latest_state()
    fix = (
        f"Resume continues from step {saved[0]}."
        if saved
        else "No state was saved yet: starting it again begins anew."
    )
    fields = {"step": state.step, "evidence": run.log_tail(20)[-2000:]}
    if not_started is not None:
        return {
            "outcome": "failed",
            "problem": f"The trainer could not be started: {not_started.failure}",
            "fix": not_started.fix or "Check the installation: `python -m kohya_bridge doctor` in a shell.",
            "code": "not_started",
            **fields,
        }
    how = describe_exit(exit_code)
    where = f"at step {state.step} of {state.total}" if state.total else "before it began training"
    if any(rung["how"] != "ask" for rung in climbed):
        return {
            "outcome": "stopped",
            "problem": f"Ended by force {where} ({how}).",
            "fix": fix,
            "code": "killed",
            **fields,
        }
    cause = explain_death(exit_code, run.log_tail(60))
    problem = " ".join(filter(None, [f"The trainer died {where} ({how}).", cause.problem]))
    return {
        "outcome": "failed",
        "problem": problem,
        "fix": " ".join(filter(None, [cause.fix, fix])),
        "code": cause.code,
        **fields,
    }


def revoke_completion(run: RunFolder, problems: list[str]) -> None:
    """Take back a `completed` that does not hold: the one case in which an attempt gets a second `run_finished`."""
    run.append(
        "run_finished",
        outcome="failed",
        step=run.state().step,
        problem="The run says that it completed, but its result does not hold: " + " ".join(problems),
        fix="Resume trains the missing part again.",
        evidence="",
        code="not_verified",
    )


def _choose_best(run: RunFolder) -> None:
    """Choose the best of the checkpoints that are there, as the child does if it lives to, and leave it under its name."""
    choice = tell_best(run.dir, run.state(), run.append)
    if choice is not None:
        leave_best(run.dir, choice)
