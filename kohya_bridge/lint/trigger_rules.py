"""Rules about the trigger (4xx): named well, in every caption, first, once. One function each; `catalogue.py` lists them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..building.character_options import TRIGGER
from ..trigger import has, is_first, near_miss, places
from .finding import Examined, Hit

MAX_TRIGGER_TOKENS = 5
REWRITE = "Begin the sentence with the trigger, or put the trigger and a comma before it and name the character otherwise within."


def no_trigger_named(seen: Examined) -> Iterator[Hit]:
    """The dataset does not say what its trigger is."""
    if not seen.trigger and seen.items:
        yield Hit("metadata.yaml", "No trigger is named, so captions can't be checked for it.")


def bad_trigger(seen: Examined) -> Iterator[Hit]:
    """A trigger that is no plain token."""
    if seen.trigger and not TRIGGER.fullmatch(seen.trigger):
        plain = re.sub(r"[^a-z0-9_]+", "_", seen.trigger.lower()).strip("_")
        fix = f"Name it {plain!r} in metadata.yaml and in every caption." if plain else ""
        yield Hit("metadata.yaml", f"The trigger {seen.trigger!r} has other characters than a-z, 0-9 and '_'.", fix)  # fmt: skip


def trigger_missing(seen: Examined) -> Iterator[Hit]:
    """A caption that never says the trigger."""
    for item in seen.captioned():
        if seen.trigger and not has(item.caption, seen.trigger):
            yield Hit(item.name, f"The caption does not contain the trigger {seen.trigger!r}.")


def trigger_not_first(seen: Examined) -> Iterator[Hit]:
    """The trigger stands behind other words."""
    for item in seen.captioned():
        if not has(item.caption, seen.trigger) or is_first(item.caption, seen.trigger):
            continue
        if has(item.caption.split(",")[0], seen.trigger):
            yield Hit(item.name, f"The trigger {seen.trigger!r} is not the first word.", REWRITE)
        else:
            yield Hit(item.name, f"The trigger {seen.trigger!r} stands behind other tags.")


def trigger_repeated(seen: Examined) -> Iterator[Hit]:
    """The trigger more than once."""
    for item in seen.captioned():
        count = len(places(item.caption, seen.trigger))
        if count > 1:
            yield Hit(item.name, f"The trigger {seen.trigger!r} stands {count} times in the caption.")


def nearly_the_trigger(seen: Examined) -> Iterator[Hit]:
    """Another spelling of the trigger."""
    for item in seen.captioned():
        other = near_miss(item.caption, seen.trigger, others=seen.other_triggers)
        if other:
            yield Hit(item.name, f"The caption says {other!r}; the trigger is {seen.trigger!r}.")


def known_word(seen: Examined) -> Iterator[Hit]:
    """A trigger that the base model knows already."""
    if seen.tokens and TRIGGER.fullmatch(seen.trigger) and seen.tokens.count(seen.trigger) == 1:
        yield Hit("metadata.yaml", f"The trigger {seen.trigger!r} is one token of {_whose(seen)} vocabulary: the base model has its own idea of it.", f"Name it char_{seen.trigger}, for instance.")  # fmt: skip


def _whose(seen: Examined) -> str:
    return f"{seen.reading.family}'s" if seen.reading.family else "CLIP's"


def long_trigger(seen: Examined) -> Iterator[Hit]:
    """A trigger of many tokens."""
    count = seen.tokens.count(seen.trigger) if seen.tokens and TRIGGER.fullmatch(seen.trigger) else 0
    if count > MAX_TRIGGER_TOKENS:
        yield Hit("metadata.yaml", f"The trigger {seen.trigger!r} is {count} tokens long; more than {MAX_TRIGGER_TOKENS} are learnt less well.")  # fmt: skip


def shared_trigger(seen: Examined) -> Iterator[Hit]:
    """One trigger for two characters."""
    for slug, trigger in seen.siblings.items():
        if seen.trigger and trigger == seen.trigger:
            yield Hit("metadata.yaml", f"The dataset {slug!r} has the same trigger {trigger!r}.")


def other_trigger_in_row(seen: Examined) -> Iterator[Hit]:
    """A caption that was exported for another trigger."""
    for item in seen.captioned():
        if item.row and item.row.trigger and seen.trigger and item.row.trigger != seen.trigger:
            yield Hit(item.name, f"captions.jsonl says it was made for {item.row.trigger!r}; the dataset's trigger is {seen.trigger!r}.")  # fmt: skip


def two_triggers(seen: Examined) -> Iterator[Hit]:
    """Another character's trigger in a caption."""
    for item in seen.captioned():
        named = sorted(other for other in seen.other_triggers if has(item.caption, other))
        if named:
            yield Hit(item.name, f"The caption names another character's trigger: {', '.join(named)}.")
