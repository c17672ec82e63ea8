"""Verbs about what a run made: validate, package.

In: a run id. Out: whether its checkpoints hold and which is best; a LoRA that ComfyUI lists. Grids are rendered in ComfyUI.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..errors import InvalidInput
from ..lora_check import lora_problems
from ..package.package import package_lora
from ..run_folder import RunFolder
from ..run_state import RunState
from ..selection import choose_best
from . import exit_codes
from .context import Context
from .parsing import Verbs


def add(verbs: Verbs) -> None:
    validate = verbs.add(
        "validate", validate_run, "Check every checkpoint of a run, and say which is best and why."
    )
    validate.add_argument("run", help="run id, or its first digits")
    package = verbs.add(
        "package", package_run, "Put a checkpoint into a LoRA folder, with model card and metadata."
    )
    package.add_argument("run", help="run id, or its first digits")
    package.add_argument("--which", default="best", help="best, latest, or a step (default: best)")
    package.add_argument("--to", metavar="DIR", help="LoRA folder (default: ComfyUI's)")
    package.add_argument("--author", default="", help="who trained it, for the card")
    package.add_argument("--title", default="", help="title for the card")


def validate_run(context: Context, arguments: argparse.Namespace) -> int:
    run = context.desk.run(arguments.run)
    state = context.desk.state(run.run_id)
    rows = [
        _checkpoint_row(run, state, row) for row in sorted(state.checkpoints, key=lambda row: row["step"])
    ]
    best = choose_best(
        state.validations, [row for row in state.checkpoints if (run.dir / row["file"]).is_file()]
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
    return exit_codes.DONE if well else exit_codes.NOT_WELL


def _checkpoint_row(run: RunFolder, state: RunState, row: dict[str, Any]) -> dict[str, Any]:
    measured: dict[str, Any] = next((each for each in state.validations if each["step"] == row["step"]), {})
    return {
        "step": row["step"],
        "file": row["file"],
        "loss": measured.get("loss"),
        "psnr": measured.get("psnr"),
        "problems": lora_problems(run.dir / row["file"], steps=row["step"]),
    }


def _rounded(value: Any, digits: int) -> str:
    return f"{value:.{digits}f}" if isinstance(value, (int, float)) else ""


def package_run(context: Context, arguments: argparse.Namespace) -> int:
    run = context.desk.run(arguments.run)
    package = package_lora(
        run,
        arguments.which,
        lora_dir=_lora_dir(context, arguments.to),
        author=arguments.author,
        title=arguments.title,
    )
    context.out.emit({**package.to_json(), "file": str(package.file), "card": str(package.card_file)})
    context.out.say(f"Packaged step {package.step} as {package.name}")
    context.out.say(f"  LoRA  {package.file}")
    context.out.say(f"  card  {package.card_file}")
    return exit_codes.DONE


def _lora_dir(context: Context, given: str | None) -> Path:
    folders = [Path(given).expanduser().resolve()] if given else context.lora_dirs
    if not folders:
        raise InvalidInput("No LoRA folder is known.", "Name one with --to, or set COMFYUI_DIR.")
    return folders[0]
