"""The Character Prompt Builder: from choices and a seed to a character with prompt, negative prompt and caption.

In: the vocabulary, what was chosen in each category, a seed, a trigger. Out: a frozen `Character`. The same input gives
the same words, and each category draws from its own stream, so that fixing one leaves the others as they were.
It reads and writes no file (`captions.append_prompt` keeps the log).
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..architectures import ARCHITECTURES, FIRST
from ..captions import plain_caption
from ..counted import counted
from ..errors import FieldProblem, InvalidInput
from ..trigger import put_first
from ..workspace import check_slug
from .character_options import (
    NONE,
    PROMPT_STYLES,
    RANDOM,
    RATINGS,
    Category,
    Option,
    Options,
    check_trigger,
    load_options,
)
from .phrasing import phrase

__all__ = [
    "Character",
    "build_character",
    "character_from_prompt",
    "load_options",
    "prompt_style",
    "random_choices",
    "read_weights",
]

GENDERS = ("any", "female", "male", "neutral")
NEWER = "newer"
_WILDCARD = re.compile(r"__([a-z][a-z_]*?)__")
MOST_NESTED = 32
_ALTERNATIVES = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Character:
    """One picture's worth of character. `attributes` maps category to the option that was taken (never `Random`)."""

    prompt: str
    negative_prompt: str
    caption: str
    trigger: str
    seed: int
    character_id: str
    family: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    dataset: str = ""


def build_character(
    options: Options,
    *,
    choices: Mapping[str, str],
    seed: int,
    trigger: str = "",
    family: str = FIRST.name,
    free_text: str = "",
    negative_text: str = "",
    rating: str = "sfw",
    gender: str = "any",
    genre: str = "any",
    order: Literal["random", "sequential"] = "random",
    locked: Collection[str] = (),
    lock_seed: int = 0,
    absorbed: Collection[str] = (),
    weights: Mapping[str, float] | None = None,
    character_id: str = "",
    dataset: str = "",
) -> Character:
    """The character that these choices and this seed give.

    `choices` maps category to an option's name, `Random` or `none`; a category that is not in it counts as `none`.
    `order` says how `Random` walks: drawn by the seed, or one option further with every seed (for batches that show
    everything). `locked` categories draw by `lock_seed` instead, so that a face stays while poses change. `absorbed`
    categories stay out of the caption, so that training ties them to the trigger. Both take names of categories or of
    parts, such as `identity`. `weights` emphasise a category's words in the prompt, never in the caption. `family` is a
    name of `architectures.ARCHITECTURES`, or `newer` for models that read full sentences.

    Raises:
        InvalidInput: an unknown category, option, family or filter, an option above the rating, a trigger that is not
            a plain token; all of them at once.
    """
    trigger = "" if trigger == NONE else trigger.strip()
    locked, absorbed, weights = options.named(locked), options.named(absorbed), weights or {}
    _check(options, choices, trigger, family=family, rating=rating, gender=gender, genre=genre,
           categories=(*locked, *absorbed), weights=weights)  # fmt: skip
    style = prompt_style(family)
    taken: dict[str, Option] = {}
    for position, category in sorted(enumerate(options), key=lambda pair: pair[1].name != "gender"):
        here = lock_seed if category.name in locked else seed
        option = _take(
            category, choices.get(category.name, NONE), seed=here, position=position, order=order, rating=rating,
            gender=_presented(taken) or gender, genre=genre,
        )  # fmt: skip
        if option:
            taken[category.name] = option
    taken = {category.name: taken[category.name] for category in options if category.name in taken}
    free = _resolve_wildcards(free_text, options, seed=seed, rating=rating)
    captioned = {
        name: option
        for name, option in taken.items()
        if name not in absorbed and (found := options.category(name)) and found.caption
    }
    return Character(
        prompt=phrase(taken, trigger=trigger, style=style, free_text=free, weights=weights),
        negative_prompt=_negative(options, style, rating=rating, more=negative_text),
        caption=plain_caption(
            phrase(captioned, trigger=trigger, style=style, free_text=free, escape=False)
        ),
        trigger=trigger,
        seed=seed,
        character_id=check_slug(character_id, what="character") if character_id else _id(options, taken, trigger),
        family=family,
        attributes={name: option.name for name, option in taken.items()},
        dataset=check_slug(dataset) if dataset else "",
    )  # fmt: skip


def character_from_prompt(
    options: Options,
    prompt: str,
    *,
    seed: int,
    trigger: str = "",
    family: str = FIRST.name,
    free_text: str = "",
    negative_text: str = "",
    rating: str = "sfw",
    character_id: str = "",
    dataset: str = "",
) -> Character:
    """A character whose words come from somewhere else, such as another node: the trigger is put in front, wildcards are
    resolved by the seed, and the caption says the same without sampler syntax. `attributes` stay empty.

    Raises:
        InvalidInput: as `build_character`.
    """
    trigger = "" if trigger == NONE else trigger.strip()
    _check(options, {}, trigger, family=family, rating=rating, gender="any", genre="any", categories=())
    given = _resolve_wildcards(f"{prompt}, {free_text}" if free_text.strip() else prompt, options, seed=seed, rating=rating)  # fmt: skip
    if trigger:
        given = put_first(given, trigger)
    identity = hashlib.sha256(given.encode()).hexdigest()[:8]
    return Character(
        prompt=given,
        negative_prompt=_negative(options, prompt_style(family), rating=rating, more=negative_text),
        caption=plain_caption(given),
        trigger=trigger,
        seed=seed,
        character_id=check_slug(
            character_id or trigger.strip("_") or f"character-{identity}", what="character"
        ),
        family=family,
        dataset=check_slug(dataset) if dataset else "",
    )


def prompt_style(family: str) -> str:
    """How a model family wants to be prompted: `tags`, `prose` or `natural`. A style's own name is taken as it is.

    Raises:
        InvalidInput: no such family.
    """
    if family in ARCHITECTURES:
        return ARCHITECTURES[family].prompt_style
    if family in PROMPT_STYLES:
        return family
    if family == NEWER:
        return "natural"
    raise InvalidInput(
        f"There is no model family {family!r}.",
        f"Choose {', '.join(ARCHITECTURES)} or {NEWER} (full sentences).",
    )


def read_weights(words: Iterable[str]) -> dict[str, float]:
    """`hair_colour=1.2` as a mapping; `:` does as well. Raises InvalidInput with every word that is something else."""
    found, problems = {}, []
    for word in words:
        name, _, number = word.replace(":", "=").partition("=")
        try:
            found[name.strip()] = float(number)
        except ValueError:
            problems.append(
                FieldProblem("weights", word, "it is not a weight.", "Write it as hair_colour=1.2.")
            )
    if problems:
        raise InvalidInput("The weights can't be read:", problems=problems)
    return found


def random_choices(options: Options, *, parts: Collection[str] = ()) -> dict[str, str]:
    """`Random` for every category, or for those of the named parts (`identity`, `look`, `scene`, `camera`, `finish`)."""
    return {category.name: RANDOM for category in options if not parts or category.part in parts}


def _check(
    options: Options, choices: Mapping[str, str], trigger: str, *, family: str, rating: str, gender: str, genre: str,
    categories: Collection[str], weights: Mapping[str, float] | None = None,
) -> None:  # fmt: skip
    problems = []
    known = [category.name for category in options]
    for name, weight in (weights or {}).items():
        if not 0.1 <= weight <= 2.0:
            problems.append(FieldProblem(f"weights.{name}", weight, "it is out of range.", "Use 0.1 to 2.0; 1.0 changes nothing."))  # fmt: skip
    for name in dict.fromkeys((*choices, *categories, *(weights or {}))):
        if name not in known:
            problems.append(FieldProblem(name, choices.get(name), "there is no such category.", f"Categories: {', '.join(known)}."))  # fmt: skip
    for category in options:
        choice = choices.get(category.name, NONE)
        option = category.option(choice)
        if option is None and choice not in (RANDOM, NONE):
            problems.append(FieldProblem(category.name, choice, "there is no such option.", _nearest(choice, category)))  # fmt: skip
        elif option and rating in RATINGS and RATINGS.index(option.rating) > RATINGS.index(rating):
            problems.append(FieldProblem(category.name, choice, f"it is rated {option.rating}; only {rating} is allowed here.", "Allow it with `rating`, or choose another."))  # fmt: skip
    for name, value, allowed in (
        ("rating", rating, RATINGS), ("gender", gender, GENDERS), ("genre", genre, options.genres()),
        ("family", family, (*ARCHITECTURES, NEWER, *PROMPT_STYLES)),
    ):  # fmt: skip
        if value not in allowed:
            problems.append(FieldProblem(name, value, "it is not known.", f"Choose {', '.join(allowed)}."))
    if trigger:
        try:
            check_trigger(trigger)
        except ValueError as error:
            problem, _, fix = str(error).partition(" | ")
            problems.append(FieldProblem("trigger", None, problem, fix))
    if problems:
        raise InvalidInput("The character can't be built:", problems=problems)


def _nearest(choice: str, category: Category) -> str:
    import difflib

    near = difflib.get_close_matches(choice, category.names, n=1)
    return (
        f"Did you mean {near[0]!r}?"
        if near
        else f"Choose one of the {counted(len(category.options), 'option')}, Random or none."
    )


def _take(
    category: Category, choice: str, *, seed: int, position: int, order: str, rating: str, gender: str, genre: str
) -> Option | None:  # fmt: skip
    if choice != RANDOM:
        return category.option(choice)
    suitable = [each for each in category.options if each.suits(rating=rating, gender=gender, genre=genre)]
    if not suitable:
        return None
    if order == "sequential":
        # The shift after each full pass keeps categories of equal length from walking in step for ever.
        return suitable[(seed + (seed // len(suitable)) * (position + 1)) % len(suitable)]
    return _stream(seed, category.name).choices(suitable, weights=[each.weight for each in suitable])[0]


def _stream(seed: int, name: str) -> random.Random:
    """Random numbers that depend on nothing but the seed and the name: no other choice shifts them."""
    return random.Random(hashlib.sha256(f"{seed}:{name}".encode()).digest())


def _presented(taken: Mapping[str, Option]) -> str:
    chosen = taken.get("gender")
    return chosen.gender[0] if chosen and chosen.gender else ""


def _resolve_wildcards(text: str, options: Options, *, seed: int, rating: str) -> str:
    """Free text with `{a|b}` and `__category__` replaced by the seed's choice; the rest of such syntax is dropped."""
    stream = _stream(seed, "free_text")

    def from_category(match: re.Match[str]) -> str:
        category = options.category(match[1])
        suitable = [each for each in category.options if each.suits(rating=rating, gender="any", genre="any")] if category else []  # fmt: skip
        return stream.choice(suitable).tag if suitable else match[1].replace("_", " ")

    text = _WILDCARD.sub(from_category, text)
    for _ in range(MOST_NESTED):  # innermost first; braces that are nested deeper are dropped below
        text, chosen = _ALTERNATIVES.subn(lambda match: stream.choice(match[1].split("|")), text)
        if not chosen:
            break
    return re.sub(r"\s+", " ", re.sub(r"[{}|]|__", " ", text)).strip(" ,")


def _negative(options: Options, style: str, *, rating: str, more: str) -> str:
    base = options.negative.get(style, "")  # type: ignore[call-overload]
    guard = {"sfw": "nsfw, nude", "suggestive": "nsfw"}.get(rating, "")
    return ", ".join(part.strip(" ,") for part in (base, guard, more) if part.strip(" ,"))


def _id(options: Options, taken: Mapping[str, Option], trigger: str) -> str:
    """The trigger where there is one; else the archetype and a digest of what makes the identity."""
    if trigger and trigger.strip("_"):
        return check_slug(trigger.strip("_").removesuffix("-"), what="character")
    identity = {category.name for category in options if category.part == "identity"}
    traits = "|".join(f"{name}={option.name}" for name, option in taken.items() if name in identity)
    role = re.sub(r"[^a-z0-9]+", "-", taken["identity"].name.lower()).strip("-") if "identity" in taken else "character"  # fmt: skip
    return f"{role[:40] or 'character'}-{hashlib.sha256(traits.encode()).hexdigest()[:8]}"
