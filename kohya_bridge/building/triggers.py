"""Triggers: the plain tokens that LoRAs answer to, added, renamed and removed in the workspace's own options file.

In: an archetype and a token. Out: the file `kohya/character_options.user.json`, edited atomically and validated as a whole before
it is written; and what is known of a token: how many CLIP tokens it costs and who uses it already.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from ..captions import locked
from ..counted import counted
from ..dataset import list_datasets
from ..datasets.clip_tokens import ClipTokens
from ..datasets.dataset_metadata import METADATA_NAME, read_metadata
from ..errors import BridgeError, Conflict, InvalidInput, NotFound
from ..workspace import Workspace, write_atomically
from .character_options import (
    PACK_OPTIONS_FILE,
    TRIGGER,
    Options,
    UserOptions,
    load_options,
    merge_options,
    read_user_options,
    user_options_file,
)


@dataclass(frozen=True)
class TriggerFacts:
    """What is known of a trigger. `tokens` is None where no tokenizer was given; `advice` are sentences, empty when all is well."""

    trigger: str
    archetypes: tuple[str, ...]
    datasets: tuple[str, ...]
    tokens: int | None
    advice: tuple[str, ...]


def describe_trigger(workspace: Workspace, trigger: str, *, tokens: ClipTokens | None = None) -> TriggerFacts:
    """Who uses a trigger and what it costs. Raises InvalidInput for one that is no plain token."""
    _check(trigger)
    options = load_options(workspace)
    archetypes = tuple(name for name, token in options.lora_trigger.items() if token == trigger)
    datasets = tuple(slug for slug in list_datasets(workspace) if _trigger_of(workspace, slug) == trigger)
    count = tokens.count(trigger) if tokens else None
    advice = []
    if len(datasets) > 1:
        advice.append(f"Two datasets use it: {', '.join(datasets)}. Their LoRAs can't be used together.")
    if count == 1:
        advice.append("It is one token that the base model knows: join it with another word by '_'.")
    if count and count > 5:
        advice.append(f"It costs {counted(count, 'token')}; a shorter one is learnt better.")
    return TriggerFacts(trigger, archetypes, datasets, count, tuple(advice))


def add_trigger(workspace: Workspace, archetype: str, trigger: str) -> Options:
    """Map an archetype to a trigger.

    Raises:
        InvalidInput: no plain token. Conflict: the archetype has another trigger, or the trigger another archetype.
    """
    _check(trigger)
    known = load_options(workspace).lora_trigger
    if known.get(archetype, trigger) != trigger:
        raise Conflict(f"{archetype!r} has the trigger {known[archetype]!r}.", "Rename it, or choose another archetype.")  # fmt: skip
    owner = next((name for name, token in known.items() if token == trigger and name != archetype), None)
    if owner:
        raise Conflict(f"The trigger {trigger!r} belongs to {owner!r}.", "Choose another token.")
    return _edit(workspace, lambda user: {**user, archetype: trigger})


def ensure_trigger(workspace: Workspace, trigger: str) -> Options:
    """Have a trigger in the map, under an archetype named after it; nothing is done where it stands there already.

    Raises:
        InvalidInput: no plain token.
    """
    _check(trigger)
    options = load_options(workspace)
    if trigger in options.lora_trigger.values():
        return options
    short = trigger.removeprefix("char_") or trigger
    numbered = (f"{short} {number}" for number in itertools.count(2))
    archetype = next(name for name in (short, trigger, *itertools.islice(numbered, len(options.lora_trigger))) if name not in options.lora_trigger)  # fmt: skip
    return add_trigger(workspace, archetype, trigger)


def rename_trigger(workspace: Workspace, archetype: str, trigger: str) -> Options:
    """Give an archetype another trigger. Captions and LoRAs that carry the old one are not touched.

    Raises:
        InvalidInput: no plain token. NotFound: no such archetype. Conflict: another archetype has that trigger.
    """
    _check(trigger)
    known = load_options(workspace).lora_trigger
    if archetype not in known:
        raise NotFound(f"There is no archetype {archetype!r}.", f"Archetypes: {', '.join(known)}.")
    owner = next((name for name, token in known.items() if token == trigger and name != archetype), None)
    if owner:
        raise Conflict(f"The trigger {trigger!r} belongs to {owner!r}.", "Choose another token.")
    return _edit(workspace, lambda user: {**user, archetype: trigger})


def remove_trigger(workspace: Workspace, archetype: str) -> Options:
    """Take an archetype of the workspace's own out of the map. Raises NotFound for one that is not, or is the pack's."""
    mine = read_user_options(user_options_file(workspace)).lora_trigger
    if archetype not in mine:
        raise NotFound(
            f"{archetype!r} is not one of your own archetypes.",
            f"Yours: {', '.join(mine) or 'none'}; those of {PACK_OPTIONS_FILE.name} can be renamed, not removed.",
        )
    return _edit(workspace, lambda user: {name: token for name, token in user.items() if name != archetype})


def _edit(workspace: Workspace, change: Callable[[dict[str, str]], dict[str, str]]) -> Options:
    file = user_options_file(workspace)
    with locked(file):
        user = read_user_options(file)
        changed = UserOptions(**{**user.model_dump(), "lora_trigger": change(dict(user.lora_trigger))})
        options = merge_options(load_options(), changed)
        write_atomically(file, changed.model_dump_json(indent=1, exclude_defaults=True) + "\n")
    return options


def _check(trigger: str) -> None:
    if not TRIGGER.fullmatch(trigger):
        raise InvalidInput(
            f"{trigger!r} is not a plain token.",
            "Use only a-z, 0-9 and '_', such as 'char_alice'; at most 64.",
        )


def _trigger_of(workspace: Workspace, slug: str) -> str:
    try:
        return read_metadata(workspace.dataset_dir(slug) / METADATA_NAME).lora_tag
    except (BridgeError, OSError):  # lint reports such a file; here it just names no trigger
        return ""
