"""Verbs about what a run made: validate, package.

In: a run id. Out: whether its checkpoints hold, which is best, and a labelled grid rendered without ComfyUI; a LoRA that
ComfyUI lists, with what it takes to publish it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ..architectures import architecture
from ..engines.saved import file_digest
from ..errors import BridgeError, InvalidInput
from ..models.lora_check import lora_problems
from ..package import package_lora
from ..reasons import reason_of
from ..run_folder import RunFolder
from ..run_state import RunState
from ..runs.plan_paths import paths_of
from ..selection import choose_best
from ..validation.asked_grid import USUAL_COLUMNS
from ..validation.manifest import Sampling
from ..validation.renderer import SAMPLERS, SCHEDULERS, is_drawn_by_host
from ..validation.validate import validate_run as render_and_judge
from . import exit_codes
from .context import Context
from .parsing import Verbs

Number = TypeVar("Number", int, float)


def add(verbs: Verbs) -> None:
    validate = verbs.add(
        "validate",
        validate_run,
        "Check every checkpoint of a run, say which is best and why, and render a labelled grid without a running ComfyUI.",
    )
    validate.add_argument("run", help="run id, or its first digits")
    _add_grid_options(validate)
    package = verbs.add(
        "package", package_run, "Put a checkpoint into a LoRA folder, with model card and metadata."
    )
    package.add_argument("run", help="run id, or its first digits")
    package.add_argument("--which", default="best", help="best, latest, or a step (default: best)")
    package.add_argument("--to", metavar="DIR", help="LoRA folder (default: ComfyUI's)")
    package.add_argument("--author", default="", help="who trained it, for the card")
    package.add_argument("--title", default="", help="title for the card")
    package.add_argument(
        "--published", action="store_true", help="freeze the dataset's version: this LoRA is given away"
    )
    package.add_argument(
        "--hugging-face", action="store_true", help="also write a folder that can be pushed to the hub"
    )
    package.add_argument(
        "--hub-base", default="", metavar="OWNER/NAME", help="the base model's id on the hub"
    )
    package.add_argument(
        "--civitai", action="store_true", help="also write a zip for Civitai and .civitai.info"
    )


def _add_grid_options(parser: argparse.ArgumentParser) -> None:
    grid = parser.add_argument_group("the grid")
    grid.add_argument("--no-pictures", action="store_true", help="only check the checkpoints, render nothing")
    grid.add_argument(
        "--which", default="best", help="checkpoints: best, latest, all, or steps (default: best)"
    )
    grid.add_argument(
        "--prompt",
        action="append",
        default=[],
        help="a prompt; may be given several times (default: held-out captions)",
    )
    grid.add_argument("--negative", default="", help="negative prompt for all")
    grid.add_argument(
        "--strengths", default="1.0", help="with commas between; 0 is always there (default: 1.0)"
    )
    grid.add_argument("--seeds", default="1,2", help="with commas between (default: 1,2)")
    grid.add_argument(
        "--columns",
        default=USUAL_COLUMNS,
        help="what varies across the columns, of checkpoint, prompt, strength, seed; the rest varies down the rows "
        f"(default: {USUAL_COLUMNS})",
    )
    grid.add_argument("--trigger-off", action="store_true", help="add rows without the trigger")
    grid.add_argument("--size", metavar="WxH", help="pixels (default: the training's resolution)")
    usual = "as the family is usually drawn"
    grid.add_argument("--steps", type=int, help=f"sampling steps (default: {usual})")
    grid.add_argument("--cfg", type=float, help=f"guidance (default: {usual})")
    grid.add_argument(
        "--sampler",
        help=f"{', '.join(SAMPLERS)}, or ComfyUI's where its models draw (default: {usual})",
    )
    grid.add_argument("--scheduler", help=f"{', '.join(SCHEDULERS)}, or ComfyUI's (default: {usual})")


def validate_run(context: Context, arguments: argparse.Namespace) -> int:
    run = context.desk.run(arguments.run)
    state = context.desk.state(run.run_id)
    rows = [
        _checkpoint_row(run, state, row) for row in sorted(state.checkpoints, key=lambda row: row["step"])
    ]
    best = choose_best(
        state.validations, [row for row in state.checkpoints if run.files.is_file(row["file"])]
    )
    for row in rows:
        context.out.emit(row)
    context.out.emit({"run_id": run.run_id, "best": best.__dict__ if best else None})
    context.out.table(
        ("step", "held-out loss", "psnr", "file", "verdict"),
        [
            (
                row["step"],
                _rounded(row["loss"], 4),
                _rounded(row["psnr"], 2),
                row["file"],
                " ".join(row["problems"]) or "sound",
            )
            for row in rows
        ],
    )
    context.out.say(f"Best: {best.reason}" if best else "There is no checkpoint.")
    well = rows and not any(row["problems"] for row in rows)
    if well and not arguments.no_pictures:
        _render_grid(context, run, arguments)
    return exit_codes.DONE if well else exit_codes.NOT_WELL


def _render_grid(context: Context, run: RunFolder, arguments: argparse.Namespace) -> None:
    plan = run.plan()
    width, height = _size(arguments.size, plan.settings.resolution)
    paths, usual = paths_of(run, plan, context.desk.places), architecture(plan.base_model.family).drawing
    judged = render_and_judge(
        run,
        paths=paths,
        sampling=Sampling(
            sampler=arguments.sampler or usual.sampler,
            scheduler=arguments.scheduler or usual.scheduler,
            steps=usual.steps if arguments.steps is None else arguments.steps,
            cfg=usual.cfg if arguments.cfg is None else arguments.cfg,
            width=width,
            height=height,
            base_model=plan.base_model.name,
            renderer="comfyui" if is_drawn_by_host(plan) else "diffusers",
        ),
        checkpoints=arguments.which,
        prompts=tuple(arguments.prompt),
        negative=arguments.negative,
        strengths=_numbers("--strengths", arguments.strengths, float),
        seeds=_numbers("--seeds", arguments.seeds, int),
        trigger_off=arguments.trigger_off,
        columns=arguments.columns,
        workspace=context.workspace,
        on_progress=lambda done, total: context.out.say(f"picture {done} of {total}"),
    )
    saved = judged.saved
    context.out.emit({"grid": str(saved.file), "manifest": str(saved.manifest_file), "report": judged.report})
    context.out.say(judged.report)
    context.out.say(f"  grid      {saved.file}")
    context.out.say(f"  manifest  {saved.manifest_file}")


def _size(text: str | None, resolution: int) -> tuple[int, int]:
    if text is None:
        return resolution, resolution
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise InvalidInput(f"--size {text!r} is not a size.", "Write it as 512x768.")
    return int(width), int(height)


def _numbers(option: str, text: str, kind: Callable[[str], Number]) -> tuple[Number, ...]:
    try:
        return tuple(kind(word) for word in text.replace(",", " ").split())
    except ValueError:
        raise InvalidInput(
            f"{option} {text!r} holds something that is not a number.", "Write 0.6,0.8,1."
        ) from None


def _checkpoint_row(run: RunFolder, state: RunState, row: dict[str, Any]) -> dict[str, Any]:
    measured: dict[str, Any] = next((each for each in state.validations if each["step"] == row["step"]), {})
    return {
        "step": row["step"],
        "file": row["file"],
        "loss": measured.get("loss"),
        "psnr": measured.get("psnr"),
        "problems": _problems(run, row),
    }


def _problems(run: RunFolder, row: dict[str, Any]) -> list[str]:
    """What is wrong with a checkpoint. One number that flipped leaves a file whole and finite; its digest tells."""
    try:
        file = run.weights_of(row["file"])
        digest = file_digest(run.files, file)
    except (BridgeError, OSError) as error:
        return [
            error.problem
            if isinstance(error, BridgeError)
            else f"{row['file']} can't be read: {reason_of(error)}."
        ]
    problems = lora_problems(file, steps=row["step"])
    told = row.get("sha256")
    if told and digest != told:
        problems.append(
            f"{file.name} is not the file that the run wrote: its SHA-256 begins with {digest[:8]}, that of the run's with {told[:8]}."
        )
    return problems


def _rounded(value: Any, digits: int) -> str:
    return f"{value:.{digits}f}" if isinstance(value, (int, float)) else ""


def package_run(context: Context, arguments: argparse.Namespace) -> int:
    run = context.desk.run(arguments.run)
    package = package_lora(
        run,
        arguments.which,
        lora_dir=_lora_dir(context, arguments.to),
        workspace=context.workspace,
        author=arguments.author,
        title=arguments.title,
        hub_base_model=arguments.hub_base,
        published=arguments.published,
        hub_folder=arguments.hugging_face,
        civitai_zip=arguments.civitai,
        civitai_info=arguments.civitai,
    )
    context.out.emit({**package.to_json(), "file": str(package.file), "card": str(package.card_file)})
    context.out.say(f"Packaged step {package.step} as {package.name}")
    context.out.say(f"  LoRA  {package.file}")
    context.out.say(f"  card  {package.card_file}")
    for made in package.for_upload:
        context.out.say(f"  for others  {made}")
    for key in package.left_out:
        context.out.say(f"  left out of the metadata, which ComfyUI reads up to 1 MiB: {key}")
    return exit_codes.DONE


def _lora_dir(context: Context, given: str | None) -> Path:
    folders = [Path(given).expanduser().resolve()] if given else context.lora_dirs
    if not folders:
        raise InvalidInput("No LoRA folder is known.", "Name one with --to, or set COMFYUI_DIR.")
    return folders[0]
