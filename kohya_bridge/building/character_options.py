"""The vocabulary of the Character Prompt Builder: categories, their options, and the map of LoRA triggers.

In: `character_options.json` of the pack and, from the workspace, `kohya/character_options.user.json` with a person's own
additions (updating the pack leaves it alone). Out: one validated `Options`. It chooses nothing; `character.py` does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ..errors import InvalidInput
from ..files import read_named
from ..forbidding import Forbidding, parse
from ..reasons import in_json
from ..workspace import PACK_ROOT, Workspace

PACK_OPTIONS_FILE = PACK_ROOT / "character_options.json"
USER_OPTIONS_NAME = "character_options.user.json"
TRIGGER = re.compile(r"[a-z0-9_]{1,64}")
RANDOM, NONE = "Random", "none"
RATINGS = ("sfw", "suggestive", "nsfw")
PROMPT_STYLES = ("tags", "prose", "natural")
MAX_OPTIONS_BYTES = 4 << 20

Rating = Literal["sfw", "suggestive", "nsfw"]
Gender = Literal["female", "male", "neutral"]
Name = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[^\n\r\t]+$")]
Text = Annotated[str, Field(max_length=300, pattern=r"^[^\n\r\t]*$")]


class Option(Forbidding):
    """One choice within a category, worded for each way of prompting."""

    name: Name
    """What the drop-down shows; unique within its category."""
    tag: Text
    """Comma-separated tags, for models that were trained on tags."""
    prose: Text
    """A phrase that fits the category's place in a sentence."""
    about: Text = ""
    """A few words for the person who chooses."""
    rating: Rating = "sfw"
    """Least permissive policy under which it may be used."""
    gender: tuple[Gender, ...] = ()
    """Presentations it suits; empty suits all."""
    genre: tuple[str, ...] = ()
    """Settings it belongs to; empty belongs to all."""
    weight: Annotated[float, Field(gt=0, le=100)] = 1.0
    """How often `Random` takes it, relative to the others."""

    @field_validator("name")
    @classmethod
    def _not_reserved(cls, value: str) -> str:
        if value in (RANDOM, NONE):
            raise ValueError(f"{value!r} is reserved for every category. | Choose another name.")
        return value

    def suits(self, *, rating: str, gender: str, genre: str) -> bool:
        """Whether a random draw under these filters may take it; `any` filters nothing."""
        return (
            RATINGS.index(self.rating) <= RATINGS.index(rating)
            and (gender in ("any", "neutral") or not self.gender or gender in self.gender)
            and (genre == "any" or not self.genre or genre in self.genre)
        )


class Category(Forbidding):
    """One drop-down of the builder."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z_]{0,31}$")]
    """Key in attributes and node inputs."""
    title: Name
    """Label on the node."""
    part: Literal["identity", "look", "scene", "camera", "finish"]
    """`identity` stays with the character; the others vary from picture to picture."""
    about: Text = ""
    """What the category decides."""
    caption: bool = True
    """Whether its words belong in a training caption; requests for quality don't."""
    options: Annotated[tuple[Option, ...], Field(min_length=1)]
    """The choices, in the order shown."""

    @property
    def names(self) -> tuple[str, ...]:
        """Everything the drop-down offers: `Random`, `none`, then each option."""
        return (RANDOM, NONE, *(option.name for option in self.options))

    def option(self, name: str) -> Option | None:
        return next((each for each in self.options if each.name == name), None)

    @model_validator(mode="after")
    def _unique(self) -> Category:
        names = [option.name for option in self.options]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{self.name} has these names twice: {', '.join(twice)}. | Rename one of each.")
        return self


class Options(Forbidding):
    """The whole vocabulary."""

    version: Literal[1] = 1
    """Format of the file."""
    lora_trigger: dict[Name, str] = {}
    """Character archetype -> the plain token that its LoRA learns."""
    negative: dict[Literal["tags", "prose", "natural"], Text] = {}
    """Negative prompt for each way of prompting."""
    categories: tuple[Category, ...]
    """The drop-downs, in the order of the node."""

    @field_validator("lora_trigger")
    @classmethod
    def _plain_triggers(cls, value: dict[str, str]) -> dict[str, str]:
        for archetype, trigger in value.items():
            check_trigger(trigger, archetype=archetype)
        twice = sorted({each for each in value.values() if list(value.values()).count(each) > 1})
        if twice:
            raise ValueError(
                f"these triggers stand for two characters: {', '.join(twice)}. | Give each its own."
            )
        return value

    def category(self, name: str) -> Category | None:
        return next((each for each in self.categories if each.name == name), None)

    def named(self, names: Iterable[str]) -> tuple[str, ...]:
        """Categories by their own names or by the name of a part (`identity` names all that stay with the character); a
        name that is neither comes back as it is."""
        found: dict[str, None] = {}
        for name in names:
            part = [category.name for category in self.categories if category.part == name]
            # `identity` is a part and a category; the part holds the category.
            found.update(dict.fromkeys(part or [name]))
        return tuple(found)

    def genres(self) -> tuple[str, ...]:
        """`any`, then every genre that some option names."""
        found = {genre for category in self.categories for each in category.options for genre in each.genre}
        return ("any", *sorted(found))

    def triggers(self) -> tuple[str, ...]:
        """`none`, then every trigger of the map: the node's drop-down."""
        return (NONE, *self.lora_trigger.values())

    def __iter__(self) -> Iterator[Category]:  # type: ignore[override]
        return iter(self.categories)


class UserOptions(Forbidding):
    """A person's additions; an option of a known name replaces the pack's."""

    version: Literal[1] = 1
    """Format of the file."""
    lora_trigger: dict[Name, str] = {}
    """Further archetypes, or other triggers for the pack's."""
    negative: dict[Literal["tags", "prose", "natural"], Text] = {}
    """Replaces the pack's negative prompt of that style."""
    options: dict[str, tuple[Option, ...]] = {}
    """Category name -> further options."""


def load_options(workspace: Workspace | None = None) -> Options:
    """The pack's vocabulary with the workspace's additions. Parsed again only when a file has changed.

    Raises:
        InvalidInput: a file is damaged; every wrong value is named.
    """
    pack = _pack_options(*_stamp(PACK_OPTIONS_FILE))
    user_file = user_options_file(workspace) if workspace else None
    return merge_options(pack, read_user_options(user_file)) if user_file and user_file.is_file() else pack


def user_options_file(workspace: Workspace) -> Path:
    return workspace.root / "kohya" / USER_OPTIONS_NAME


def read_user_options(file: Path) -> UserOptions:
    """A person's additions; an absent file has none. Raises InvalidInput."""
    return parse(UserOptions, read_json(file), what=file.name) if file.is_file() else UserOptions()


def merge_options(pack: Options, user: UserOptions) -> Options:
    """`pack` with a person's options, triggers and negative prompts added, checked as a whole. Raises InvalidInput."""
    unknown = sorted(set(user.options) - {category.name for category in pack.categories})
    if unknown:
        known = ", ".join(category.name for category in pack.categories)
        raise InvalidInput(
            f"{USER_OPTIONS_NAME} adds to unknown categories: {', '.join(unknown)}.",
            f"Categories are: {known}.",
        )
    categories = [
        {**category.model_dump(), "options": _merged(category, user.options.get(category.name, ()))}
        for category in pack.categories
    ]
    return parse(
        Options,
        {
            "lora_trigger": {**pack.lora_trigger, **user.lora_trigger},
            "negative": {**pack.negative, **user.negative},
            "categories": categories,
        },
        what=USER_OPTIONS_NAME,
    )


def check_trigger(trigger: str, *, archetype: str = "") -> str:
    """`trigger` unchanged if it is a plain token. Raises ValueError in `problem | fix` form for the validators."""
    if not TRIGGER.fullmatch(trigger):
        plain = re.sub(r"[^a-z0-9_]+", "_", trigger.lower()).strip("_")[:64]
        example = f"such as {plain!r}" if plain else "such as 'char_alice'"
        whose = f" of {archetype!r}" if archetype else ""
        raise ValueError(
            f"the trigger {trigger!r}{whose} is not a plain token. | Use only a-z, 0-9 and '_', {example}."
        )
    return trigger


def read_json(file: Path) -> Any:
    """The content of a small JSON file. Raises InvalidInput: not UTF-8, not JSON, or larger than 4 MiB."""
    if file.stat().st_size > MAX_OPTIONS_BYTES:
        raise InvalidInput(
            f"{file.name} is larger than 4 MiB.", "It should hold options; is it the right file?"
        )
    try:
        return json.loads(read_named(file, most=MAX_OPTIONS_BYTES).decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise InvalidInput(f"{file.name} is not UTF-8 text.", "Save it as UTF-8.") from None
    except (ValueError, RecursionError) as error:
        said = in_json(error)
        raise InvalidInput(f"{file.name} is not valid JSON{said.where}: {said.reason}.", said.fix) from None


def _merged(category: Category, additions: tuple[Option, ...]) -> list[dict[str, Any]]:
    replaced = {option.name: option for option in additions}
    kept = [replaced.pop(option.name, option) for option in category.options]
    return [option.model_dump() for option in (*kept, *replaced.values())]


def _stamp(file: Path) -> tuple[Path, int, int]:
    stat = file.stat()
    return file, stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=2)
def _pack_options(file: Path, mtime_ns: int, size: int) -> Options:
    return parse(Options, read_json(file), what=file.name)
