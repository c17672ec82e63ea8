"""Verbs about words: caption, coverage, triggers.

In: choices for the prompt builder, a dataset's name, a trigger. Out: prompts, what a dataset shows and lacks, the trigger map.
"""

from __future__ import annotations

import argparse

from ..architectures import ARCHITECTURES, FIRST
from ..building.character import (
    GENDERS,
    NEWER,
    Character,
    build_character,
    character_from_prompt,
    random_choices,
    read_weights,
)
from ..building.character_options import RATINGS, Options, load_options
from ..building.coverage import VARIED, coverage, missing_choices
from ..building.polishing import polish
from ..building.triggers import add_trigger, describe_trigger, remove_trigger, rename_trigger
from ..captions import append_prompt
from ..dataset import find_dataset
from ..datasets.clip_tokens import ClipTokens, clip_tokens
from ..datasets.ollama import Ollama
from ..errors import InvalidInput, NotFound
from . import exit_codes
from .context import Context
from .parsing import Verbs


def add(verbs: Verbs) -> None:
    caption = verbs.add("caption", build_captions, "Build character prompts, and add them to the prompt log.")
    _add_builder(caption)
    caption.add_argument("--count", type=int, default=1, help="number of prompts, one a seed (default: 1)")
    caption.add_argument("--order", choices=("random", "sequential"), default="random", help="how Random walks from seed to seed")  # fmt: skip
    caption.add_argument("--lock", metavar="CATEGORY", action="append", default=[], help="keep the draw of this category, or of a part such as identity, for all seeds")  # fmt: skip
    caption.add_argument("--weight", metavar="CATEGORY=N", action="append", default=[], help="emphasise a category in the prompt, such as outfit=1.2")  # fmt: skip
    caption.add_argument("--prompt", default="", metavar="TEXT", help="take these words, from another tool, in place of choices")  # fmt: skip
    caption.add_argument("--absorb", metavar="CATEGORY", action="append", default=[], help="leave this category or part out of the caption")  # fmt: skip
    shown = verbs.add(
        "coverage", show_coverage, "Say what a dataset's captions show and lack, and what to make next."
    )
    shown.add_argument("slug", metavar="dataset", help="name of the dataset")
    shown.add_argument("--category", action="append", default=[], help=f"count this one (default: {', '.join(VARIED)})")  # fmt: skip
    shown.add_argument("--next", type=int, default=0, metavar="N", help="build N prompts that fill the gaps")
    _add_builder(shown)
    named = verbs.add("triggers", edit_triggers, "List the triggers, or add, rename, describe or remove one.")
    named.add_argument("archetype", nargs="?", default="", help="character archetype, such as herbalist")
    named.add_argument("trigger", nargs="?", default="", help="plain token, such as char_herbalist")
    named.add_argument(
        "--rename", action="store_true", help="give the archetype this trigger instead of its own"
    )
    named.add_argument("--remove", action="store_true", help="take one of your own archetypes out of the map")


def _add_builder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--choose", metavar="CATEGORY=OPTION", action="append", default=[], help="fix a category; Random and none count as options")  # fmt: skip
    parser.add_argument("--seed", type=int, default=1, help="first seed (default: 1)")
    parser.add_argument("--trigger", default="", help="plain token that names the character")
    parser.add_argument("--family", default=FIRST.name, help=f"model family that the prompt is for: {', '.join(ARCHITECTURES)}, or {NEWER} (default: {FIRST.name})")  # fmt: skip
    parser.add_argument("--text", default="", help="free text that goes into the prompt")
    parser.add_argument(
        "--rating", choices=RATINGS, default="sfw", help="most permissive options that may be used"
    )
    parser.add_argument(
        "--gender", choices=GENDERS, default="any", help="options that suit this presentation"
    )
    parser.add_argument("--genre", default="any", help="options that suit this setting, such as fantasy")
    parser.add_argument(
        "--character", default="", help="name of the prompt log (default: from trigger and choices)"
    )
    parser.add_argument("--dataset", default="", help="dataset that the pictures are meant for")
    parser.add_argument("--polish", metavar="MODEL", default="", help="let this Ollama model smooth the prompt; the caption stays as it is")  # fmt: skip
    parser.add_argument(
        "--host", default="", help="Ollama's address (default: $OLLAMA_HOST, else this machine)"
    )
    parser.add_argument("--no-export", action="store_true", help="only show them, write nothing")


def build_captions(context: Context, arguments: argparse.Namespace) -> int:
    options = load_options(context.workspace)
    choices = {**random_choices(options), **_choices(arguments.choose)}
    for seed in range(arguments.seed, arguments.seed + max(1, arguments.count)):
        if arguments.prompt:
            character = _from_elsewhere(options, arguments, seed)
        else:
            character = _built(
                options, arguments, choices, seed, order=arguments.order, locked=arguments.lock,
                absorbed=arguments.absorb, weights=read_weights(arguments.weight),
            )  # fmt: skip
        _log_and_show(context, arguments, character)
    return exit_codes.DONE


def show_coverage(context: Context, arguments: argparse.Namespace) -> int:
    options = load_options(context.workspace)
    dataset = find_dataset(context.workspace, arguments.slug)
    covered = coverage(dataset, options, categories=arguments.category or VARIED)
    context.out.emit({"pictures": covered.pictures, "counts": covered.counts})
    context.out.say(covered.text())
    sheets = missing_choices(
        options, covered, count=arguments.next, seed=arguments.seed, rating=arguments.rating, gender=arguments.gender,
        genre=arguments.genre, fixed=_choices(arguments.choose),
    )  # fmt: skip
    arguments.trigger = arguments.trigger or dataset.trigger
    for number, choices in enumerate(sheets):
        _log_and_show(context, arguments, _built(options, arguments, choices, arguments.seed + number))
    return exit_codes.DONE


def edit_triggers(context: Context, arguments: argparse.Namespace) -> int:
    workspace, archetype, trigger = context.workspace, arguments.archetype, arguments.trigger
    if archetype and arguments.remove:
        options = remove_trigger(workspace, archetype)
    elif archetype and trigger:
        options = (rename_trigger if arguments.rename else add_trigger)(workspace, archetype, trigger)
    else:
        options = load_options(workspace)
    shown = {n: t for n, t in options.lora_trigger.items() if archetype in ("", n) or archetype == t}
    if archetype and not shown and not arguments.remove:
        raise NotFound(
            f"There is no archetype {archetype!r}.", f"Archetypes: {', '.join(options.lora_trigger)}."
        )
    tokens = _tokens(context)
    facts = [(name, describe_trigger(workspace, token, tokens=tokens)) for name, token in shown.items()]
    for name, each in facts:
        context.out.emit({"archetype": name, **each.__dict__})
    rows = [(name, each.trigger, "?" if each.tokens is None else each.tokens, ", ".join(each.datasets)) for name, each in facts]  # fmt: skip
    context.out.table(("archetype", "trigger", "tokens", "datasets"), rows)
    for _, each in facts:
        for advice in each.advice:
            context.out.say(f"{each.trigger}: {advice}")
    return exit_codes.DONE


def _built(
    options: Options, arguments: argparse.Namespace, choices: dict[str, str], seed: int, **more: object
) -> Character:
    return build_character(
        options,
        choices=choices,
        seed=seed,
        trigger=arguments.trigger,
        family=arguments.family,
        free_text=arguments.text,
        rating=arguments.rating,
        gender=arguments.gender,
        genre=arguments.genre,
        character_id=arguments.character,
        dataset=arguments.dataset,
        **more,  # type: ignore[arg-type]
    )


def _from_elsewhere(options: Options, arguments: argparse.Namespace, seed: int) -> Character:
    return character_from_prompt(
        options,
        arguments.prompt,
        seed=seed,
        trigger=arguments.trigger,
        family=arguments.family,
        free_text=arguments.text,
        rating=arguments.rating,
        character_id=arguments.character,
        dataset=arguments.dataset,
    )


def _log_and_show(context: Context, arguments: argparse.Namespace, character: Character) -> None:
    if arguments.polish:
        character, note = polish(character, Ollama(arguments.polish, arguments.host))
        context.out.say(note)
    is_new = not arguments.no_export and append_prompt(context.workspace, character)
    context.out.emit({**character.__dict__, "attributes": dict(character.attributes), "exported": is_new})
    context.out.say(character.prompt)
    context.out.say(f"  negative: {character.negative_prompt}")
    context.out.say(f"  caption:  {character.caption}")
    if is_new:
        context.out.say(f"  added to {context.workspace.prompts_file(character.character_id).name}")


def _choices(given: list[str]) -> dict[str, str]:
    pairs = [each.partition("=") for each in given]
    if any(not equals for _, equals, _ in pairs):
        raise InvalidInput("A choice has no '='.", "Write it as CATEGORY=OPTION, such as pose=kneeling.")
    return {category.strip(): option.strip() for category, _, option in pairs}


def _tokens(context: Context) -> ClipTokens | None:
    try:
        return clip_tokens(context.tokenizer_dir)
    except NotFound:
        return None
