"""Coverage: which of the builder's options a dataset shows, which it lacks, and what to generate next.

In: captions and the vocabulary. Out: counts for each category, and choices for the next pictures that fill the gaps evenly.
An option counts as shown when its tags, or its phrase, stand in the caption.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..counted import counted
from ..dataset import Dataset
from ..errors import InvalidInput
from .character_options import NONE, RANDOM, Category, Option, Options

VARIED = ("expression", "shot", "angle", "pose", "outfit", "light", "background")


@dataclass(frozen=True)
class Coverage:
    """`counts` maps category to option to the number of pictures that show it, in the vocabulary's order; options that
    nobody shows count 0."""

    pictures: int
    counts: Mapping[str, Mapping[str, int]]

    def lacking(self, category: str) -> list[str]:
        """Options of a category that no picture shows."""
        return [name for name, count in self.counts[category].items() if not count]

    def text(self) -> str:
        """Each category on a line: what is shown how often, then how much is missing."""
        lines = [f"{counted(self.pictures, 'picture')}"]
        for category, counts in self.counts.items():
            shown = sorted(((n, name) for name, n in counts.items() if n), reverse=True)
            said = ", ".join(f"{name} ({n})" for n, name in shown[:12]) or "nothing"
            lacking = len(self.lacking(category))
            lines.append(
                f"{category}: {said}{'; more' if len(shown) > 12 else ''} - {lacking} of {counted(len(counts), 'option')} not shown"
            )
        return "\n".join(lines)


def coverage(dataset: Dataset, options: Options, *, categories: Sequence[str] = VARIED) -> Coverage:
    """What the captions of a dataset show of these categories.

    Raises:
        InvalidInput: an unknown category.
    """
    captions = [_Caption(item.caption) for item in dataset.items]
    counts = {
        category.name: {
            option.name: sum(each.shows(option) for each in captions) for option in category.options
        }
        for category in _known(options, categories)
    }
    return Coverage(len(dataset.items), counts)


def missing_choices(
    options: Options,
    covered: Coverage,
    *,
    count: int,
    seed: int = 0,
    rating: str = "sfw",
    gender: str = "any",
    genre: str = "any",
    fixed: Mapping[str, str] | None = None,
) -> list[dict[str, str]]:
    """Choices for the next `count` pictures: in every category what has been shown least, ties drawn by the seed.

    Give them to `character.build_character` one after the other. `fixed` choices stay as they are.
    """
    rng = random.Random(seed)
    counts = {name: dict(each) for name, each in covered.counts.items()}
    pictures = []
    for _ in range(count):
        choices = dict(fixed or {})
        for name, shown in counts.items():
            if choices.get(name, NONE) != NONE:
                continue
            category = options.category(name)
            suitable = [o for o in category.options if o.suits(rating=rating, gender=gender, genre=genre)] if category else []  # fmt: skip
            if suitable:
                least = min(shown.get(option.name, 0) for option in suitable)
                chosen = rng.choice([option for option in suitable if shown.get(option.name, 0) == least])
                choices[name] = chosen.name
                shown[chosen.name] = shown.get(chosen.name, 0) + 1
        pictures.append(choices)
    return pictures


def next_missing(
    options: Options,
    covered: Coverage,
    *,
    seed: int,
    rating: str = "sfw",
    gender: str = "any",
    genre: str = "any",
    fixed: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Choices for one picture that shows what is shown least. Seeds that follow one another walk through all of it, whether
    the pictures before are in the dataset already or not. `fixed` choices stay; `Random` and `none` count as open."""
    choices = dict(fixed or {})
    for place, (name, shown) in enumerate(covered.counts.items()):
        category = options.category(name)
        if category is None or choices.get(name, NONE) not in (NONE, RANDOM):
            continue
        suitable = [o for o in category.options if o.suits(rating=rating, gender=gender, genre=genre)]
        if suitable:
            least = min(shown.get(option.name, 0) for option in suitable)
            rare = [option for option in suitable if shown.get(option.name, 0) == least]
            # The shift after each full pass keeps categories of equal length from walking in step.
            choices[name] = rare[(seed + seed // len(rare) * (place + 1)) % len(rare)].name
    return choices


class _Caption:
    def __init__(self, caption: str):
        self.text = " ".join(caption.lower().split())
        self.tags = {tag.strip() for tag in re.split(r"[,\n]", self.text)}

    def shows(self, option: Option) -> bool:
        tags = [tag.strip().lower() for tag in option.tag.split(",")]
        return all(tag in self.tags for tag in tags) or self._says(option.prose.lower())

    def _says(self, phrase: str) -> bool:
        return (
            bool(re.search(rf"(?<![a-z0-9]){re.escape(phrase)}(?![a-z0-9])", self.text))
            if " " in phrase
            else False
        )


def _known(options: Options, names: Sequence[str]) -> list[Category]:
    found = [category for name in names if (category := options.category(name))]
    if len(found) != len(names):
        known = ", ".join(category.name for category in options)
        raise InvalidInput(f"Not all of these are categories: {', '.join(names)}.", f"Categories: {known}.")
    return found
