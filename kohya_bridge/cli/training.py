"""Verbs that make runs: plan, train, resume.

In: a config (TrainingRequest as YAML) and `--set` changes. Out: what would happen, or a run that trains in the background.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from ..errors import InvalidInput, NotFound
from ..forbidding import parse, read_yaml
from ..plan import TrainingRequest
from ..run_folder import RunFolder
from ..runs.choices import Choices
from ..steering.preflight import Check
from ..workspace import PACK_ROOT
from . import exit_codes
from .context import Context
from .following import Detached, describe, follow
from .parsing import Verbs

SHIPPED_CONFIGS_DIR = PACK_ROOT / "training" / "kohya" / "configs"


def add(verbs: Verbs) -> None:
    plan = verbs.add("plan", show_plan, "Check a config and show what would be trained, without starting it.")
    _add_config(plan)
    train = verbs.add("train", train_config, "Train a config in the background, or attach to its run.")
    _add_config(train)
    _add_wait(train)
    resume = verbs.add("resume", resume_run, "Go on with a stopped, failed or paused run.")
    resume.add_argument("run", help="run id, or its first digits")
    _add_wait(resume)


def show_plan(context: Context, arguments: argparse.Namespace) -> int:
    check = context.desk.check(_request(context, arguments))
    out = context.out
    out.emit(_check_json(check))
    out.say(check.plan.to_yaml().rstrip())
    out.say()
    out.say(f"Run {check.plan.run_id}. {check.engine_reason}")
    _say_choices(context, check)
    _say_changes(context, check)
    _say_problems(context, check)
    return exit_codes.REFUSED if check.blocking else exit_codes.DONE


def train_config(context: Context, arguments: argparse.Namespace) -> int:
    check = context.desk.check(_request(context, arguments))
    context.out.say(check.engine_reason)
    _say_choices(context, check)
    _say_changes(context, check)
    for each in check.advice:
        context.out.say(f"Note: {each.sentence}")
    return show_started(context, context.desk.submit(check), wait=arguments.wait)


def resume_run(context: Context, arguments: argparse.Namespace) -> int:
    return show_started(context, context.desk.resume(arguments.run), wait=arguments.wait)


def show_started(context: Context, run: RunFolder, *, wait: bool) -> int:
    """Say which run was started or found, and follow it if that is asked for."""
    out = context.out
    state = context.desk.state(run.run_id)
    out.emit({"run_id": run.run_id, "slug": run.slug, "dir": str(run.dir), "status": state.status})
    out.say(f"Run {run.slug}/{run.run_id}: {describe(state)}.")
    if state.status == "completed":
        out.say(f"It is complete: {run.dir}")
        return exit_codes.DONE
    if not wait:
        out.say(f"Follow it with `python -m kohya_bridge watch {run.run_id}`; it needs no terminal.")
        return exit_codes.DONE
    return show_to_the_end(context, run, interrupt_stops=True)


def show_to_the_end(context: Context, run: RunFolder, *, interrupt_stops: bool) -> int:
    """Follow a run and say how it ended."""
    out = context.out
    try:
        state = follow(context.desk, run, out, interrupt_stops=interrupt_stops)
    except Detached:
        out.say(
            f"Left run {run.run_id}; it goes on. `python -m kohya_bridge watch {run.run_id}` follows it again."
        )
        return exit_codes.INTERRUPTED
    out.emit({"run_id": run.run_id, "status": state.status, "step": state.step, "best": state.best})
    if state.status == "completed":
        out.say(f"Completed. Best: {state.best['reason'] if state.best else 'no checkpoint'}")
        out.say(f"{run.dir}")
    else:
        out.say(f"{state.status.capitalize()}: {state.problem} {state.fix}".rstrip())
    return exit_codes.of_state(state)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config", help="a YAML file, or the name of one in the workspace's or the pack's configs"
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="replace a value of the config: a field, a setting (unet_lr=5e-5), or kohya.<option>=...",
    )


def _add_wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wait",
        action="store_true",
        help="stay until the run ends; Ctrl-C asks it to stop and save, a second Ctrl-C leaves it",
    )


def _request(context: Context, arguments: argparse.Namespace) -> TrainingRequest:
    file = _config_file(context, arguments.config)
    values = read_yaml(file)
    if isinstance(values, dict):
        for change in arguments.set:
            _put(values, change)
    return parse(TrainingRequest, values, what=file.name)


def _config_file(context: Context, name: str) -> Path:
    given = Path(name).expanduser()
    candidates = [
        given,
        *(folder / f"{name}.yaml" for folder in (context.workspace.configs_dir, SHIPPED_CONFIGS_DIR)),
    ]
    for file in candidates:
        if file.is_file():
            return file
    known = sorted(
        {
            file.stem
            for folder in (context.workspace.configs_dir, SHIPPED_CONFIGS_DIR)
            for file in folder.glob("*.yaml")
        }
    )
    raise NotFound(f"There is no config {name!r}.", f"Give a file, or one of: {', '.join(known)}.")


def _put(values: dict[str, Any], change: str) -> None:
    """Apply one `KEY=VALUE`; the value is read as YAML, so that `8`, `true` and `[a, b]` are what they look like."""
    key, equals, text = change.partition("=")
    if not equals or not key:
        raise InvalidInput(f"--set {change!r} has no '='.", "Write it as KEY=VALUE.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    value = _number(value)
    if key.startswith("kohya."):
        values.setdefault("kohya", {})[key.removeprefix("kohya.")] = value
    elif key in TrainingRequest.model_fields:
        values[key] = value
    else:
        values.setdefault("settings", {})[key.removeprefix("settings.")] = value


def _number(value: Any) -> Any:
    """YAML 1.1 takes `5e-5` for text, since it has no dot; a person means the number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _say_choices(context: Context, check: Check) -> None:
    """The format that was chosen, and what the training will take."""
    for fact in Choices(mixed_precision=check.precision_reason, estimate=check.forecast.sentence()).facts(
        is_over=False
    ):
        context.out.say(fact)


def _say_changes(context: Context, check: Check) -> None:
    if check.changes:
        context.out.say(f"Changed since run {check.compared_with}:")
        for field, old, new in check.changes:
            context.out.say(f"  {field}: {old} -> {new}")


def _say_problems(context: Context, check: Check) -> None:
    for each in check.problems:
        context.out.say(f"{'Blocks' if each.blocks else 'Note'}: {each.problem} {each.fix}".rstrip())


def _check_json(check: Check) -> dict[str, Any]:
    return {
        "run_id": check.plan.run_id,
        "plan": check.plan.model_dump(mode="json"),
        "engine_reason": check.engine_reason,
        "precision_reason": check.precision_reason,
        "forecast": {**asdict(check.forecast), "sentence": check.forecast.sentence()},
        "problems": [each.__dict__ for each in check.problems],
        "compared_with": check.compared_with,
        "changes": [list(each) for each in check.changes],
    }
