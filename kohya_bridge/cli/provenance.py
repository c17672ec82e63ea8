"""Verbs about where a LoRA comes from and whether things are as they were: reproduce, experiments, regress.

In: a LoRA file or card, run ids, folders of renders. Out: the same LoRA again, or the reason why not; tables and verdicts.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..counted import counted
from ..engines.tensorboard_log import write_tensorboard
from ..errors import NotFound
from ..models.model_files import find_model
from ..package.recipe import read_recipe
from ..reproduce import prepare, reproduce
from ..runs.run_table import COLUMNS, experiment_table
from ..validation.regression import compare_renders, difference_sheet
from . import exit_codes
from .context import Context
from .following import follow
from .parsing import Verbs


def add(verbs: Verbs) -> None:
    again = verbs.add(
        "reproduce", reproduce_lora, "Make a packaged LoRA again and compare it tensor by tensor."
    )
    again.add_argument("file", help="a packaged LoRA, its name in the LoRA folders, or its model card")
    again.add_argument(
        "--base", default="", metavar="NAME", help="the base model's name here, if it has another one"
    )
    again.add_argument("--check", action="store_true", help="only say what it needs and whether that is here")
    again.add_argument(
        "--again", action="store_true", help="train even if the run is here, in reproductions/"
    )
    log = verbs.add("experiments", show_experiments, "Show the experiment log: one row for each attempt.")
    log.add_argument("character", nargs="?", default="", help="only this character")
    board = verbs.add("tensorboard", write_board, "Write a run's TensorBoard files again from its events.")
    board.add_argument("run", help="run id, or its first digits")
    regress = verbs.add(
        "regress", compare_folders, "Compare two folders of renders of one reference workflow."
    )
    regress.add_argument("before", help="folder of PNGs from before a change")
    regress.add_argument("after", help="folder of PNGs from after it")
    regress.add_argument(
        "--tolerance", type=float, default=0.0, help="mean difference (0 to 1) that counts as none"
    )
    regress.add_argument("--sheet", metavar="FILE", help="write a PNG that shows what changed")


def reproduce_lora(context: Context, arguments: argparse.Namespace) -> int:
    recipe = read_recipe(_lora_file(context, arguments.file))
    context.out.emit(
        {"run_id": recipe.run_id, "step": recipe.step, "plan": recipe.plan.model_dump(mode="json")}
    )
    context.out.say(recipe.needs())
    desk, check = prepare(context.desk, recipe, base_model=arguments.base, again=arguments.again)
    context.out.say("Dataset and base model are here, and this installation would train the same run.")
    if arguments.check:
        return exit_codes.DONE
    done = reproduce(
        desk, recipe, check, follow=lambda its, run: follow(its, run, context.out, interrupt_stops=True)
    )
    context.out.emit({"run_id": done.run.run_id, "verdict": done.verdict, "identical": done.identical})
    context.out.say(done.verdict)
    return exit_codes.NOT_WELL if done.identical is False else exit_codes.DONE


def show_experiments(context: Context, arguments: argparse.Namespace) -> int:
    table = experiment_table(context.workspace, character=arguments.character)
    for row in table.rows:
        context.out.emit(dict(zip(COLUMNS, row, strict=True)))
    if not table.rows:
        context.out.say("No attempt has ended yet.")
    else:
        context.out.table(COLUMNS, table.rows)
    if table.unreadable:
        context.out.say(
            f"{counted(table.unreadable, 'line')} of {context.workspace.experiments_file.name} can't be read."
        )
    return exit_codes.DONE


def write_board(context: Context, arguments: argparse.Namespace) -> int:
    run = context.desk.run(arguments.run)
    folder = write_tensorboard(run.dir, run.events())
    context.out.emit({"folder": str(folder)})
    context.out.say(f"Written: {folder}. Show it with `tensorboard --logdir {context.workspace.runs_dir}`.")
    return exit_codes.DONE


def compare_folders(context: Context, arguments: argparse.Namespace) -> int:
    before, after = Path(arguments.before), Path(arguments.after)
    result = compare_renders(before, after, tolerance=arguments.tolerance)
    context.out.emit({"same": result.same, "changes": [each.__dict__ for each in result.changes]})
    context.out.say(result.text)
    if arguments.sheet:
        sheet = difference_sheet(before, after, result)
        if sheet is not None:
            sheet.save(arguments.sheet)
            context.out.say(f"Shown in {arguments.sheet}.")
    return exit_codes.DONE if result.same else exit_codes.NOT_WELL


def _lora_file(context: Context, given: str) -> Path:
    """A path that a person typed in a shell, else a name in the LoRA folders."""
    file = Path(given).expanduser()
    if file.is_file():
        return file
    if file.suffix == ".md":
        raise NotFound(f"There is no file {given}.", "Give the card's path.")
    return find_model(given, context.lora_dirs, what="LoRA")
