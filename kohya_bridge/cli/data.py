"""Verbs about words and pictures: caption, lint.

In: choices for the prompt builder; the name of a dataset. Out: prompts, and what is wrong with a dataset.
"""

from __future__ import annotations

import argparse

from ..captions import append_prompt
from ..character import Character, build_character, random_choices
from ..character_options import load_options
from ..dataset import find_dataset
from ..errors import InvalidInput
from ..lint import lint_dataset
from . import exit_codes
from .context import Context
from .parsing import Verbs


def add(verbs: Verbs) -> None:
    caption = verbs.add("caption", build_captions, "Build character prompts, and add them to the prompt log.")
    caption.add_argument(
        "--choose", metavar="CATEGORY=OPTION", action="append", default=[], help="fix a category"
    )
    caption.add_argument("--seed", type=int, default=1, help="first seed (default: 1)")
    caption.add_argument("--count", type=int, default=1, help="number of prompts, one a seed (default: 1)")
    caption.add_argument("--trigger", default="", help="plain token that names the character")
    caption.add_argument(
        "--family", default="sd15", help="model family that the prompt is for (default: sd15)"
    )
    caption.add_argument("--text", default="", help="free text that goes into the prompt")
    caption.add_argument(
        "--character", default="", help="name of the prompt log (default: from trigger and choices)"
    )
    caption.add_argument("--dataset", default="", help="dataset that the pictures are meant for")
    caption.add_argument("--no-export", action="store_true", help="only show them, write nothing")
    lint = verbs.add(
        "lint", lint_a_dataset, "Check a dataset as training would: errors block, warnings don't."
    )
    lint.add_argument("dataset", help="name of the dataset")
    lint.add_argument("--trigger", default="", help="the trigger, instead of the one in metadata.yaml")


def build_captions(context: Context, arguments: argparse.Namespace) -> int:
    options = load_options(context.workspace)
    choices = {**random_choices(options), **_choices(arguments.choose)}
    for seed in range(arguments.seed, arguments.seed + max(1, arguments.count)):
        character = build_character(
            options,
            choices=choices,
            seed=seed,
            trigger=arguments.trigger,
            family=arguments.family,
            free_text=arguments.text,
            character_id=arguments.character,
            dataset=arguments.dataset,
        )
        is_new = not arguments.no_export and append_prompt(context.workspace, character)
        _show(context, character, is_new=is_new)
    return exit_codes.DONE


def _show(context: Context, character: Character, *, is_new: bool) -> None:
    context.out.emit({**character.__dict__, "attributes": dict(character.attributes), "exported": is_new})
    context.out.say(character.prompt)
    context.out.say(f"  negative: {character.negative_prompt}")
    context.out.say(f"  caption:  {character.caption}")
    if is_new:
        context.out.say(f"  added to {context.workspace.prompts_file(character.character_id).name}")


def _choices(given: list[str]) -> dict[str, str]:
    pairs = [each.partition("=") for each in given]
    if any(not equals for _, equals, _ in pairs):
        raise InvalidInput("A choice has no '='.", "Write it as CATEGORY=OPTION, such as hair=braids.")
    return {category.strip(): option.strip() for category, _, option in pairs}


def lint_a_dataset(context: Context, arguments: argparse.Namespace) -> int:
    dataset = find_dataset(context.workspace, arguments.dataset)
    report = lint_dataset(dataset, trigger=arguments.trigger, cache_dir=context.workspace.cache_dir)
    if context.out.as_json:
        print(report.to_json())
    context.out.say(report.text())
    return exit_codes.NOT_WELL if report.blocks else exit_codes.DONE
