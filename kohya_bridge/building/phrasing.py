"""Phrasing: the same character in the words that a model family was trained on.

In: the option taken in each category, a trigger, free text. Out: one line, as comma tags (SD 1.5), as one prose sentence
(SDXL) or as full sentences (newer models). The trigger always stands first, as a plain token.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .character_options import Option

Taken = Mapping[str, "Option"]
FEATURES = ("skin", "face", "eyes", "makeup")
WORN = ("outfit", "headwear", "eyewear", "accessories")
ACTION = ("pose", "expression", "gaze", "prop")
VIEW = ("angle", "lens", "light", "background", "weather")
FINISH = ("style", "palette", "mood")
TAG_ORDER = ("gender", "shot", "identity")
_OPEN, _CLOSE = "\ue002", "\ue003"
PRONOUNS = {"female": "She", "male": "He", "neutral": "They"}


def phrase(
    taken: Taken,
    *,
    trigger: str,
    style: str,
    free_text: str = "",
    escape: bool = True,
    weights: Mapping[str, float] | None = None,
) -> str:
    """One line in the given style. With `escape`, parentheses in options can't be read as emphasis by ComfyUI. `weights`
    emphasise the words of a category as ComfyUI reads it, `(auburn hair:1.2)`; models that read sentences get none."""
    if weights and style != "natural":
        taken = {name: _weighted(option, weights.get(name, 1.0)) for name, option in taken.items()}
    body = _STYLES[style](taken, free_text)
    free = free_text if free_text and body.endswith(free_text) else ""
    body = re.sub(r"[{}|]|__", " ", body[: len(body) - len(free)])
    if escape:
        body = _escaped(body)
    body = body.replace(_OPEN, "(").replace(_CLOSE, ")") + free
    return ", ".join(part for part in (trigger, body) if part)


def _weighted(option: Option, weight: float) -> Option:
    """The option with its words between marks that stand for brackets until the others are escaped."""
    if weight == 1.0:
        return option
    tags = ", ".join(f"{_OPEN}{tag.strip()}:{weight:g}{_CLOSE}" for tag in option.tag.split(","))
    article, rest = re.fullmatch(r"((?:an? |the )?)(.*)", option.prose).groups()  # type: ignore[union-attr]
    return option.model_copy(update={"tag": tags, "prose": f"{article}{_OPEN}{rest}:{weight:g}{_CLOSE}"})


def _tags(taken: Taken, free_text: str) -> str:
    first = [taken[name] for name in TAG_ORDER if name in taken]
    rest = [option for name, option in taken.items() if name not in (*TAG_ORDER, "quality")]
    last = [taken["quality"]] if "quality" in taken else []
    tags = [tag.strip() for option in (*first, *rest, *last) for tag in option.tag.split(",")]
    return ", ".join(part for part in (*dict.fromkeys(tags), free_text) if part)


def _prose(taken: Taken, free_text: str) -> str:
    who = _who(taken)
    parts = [_opening(taken, who), _with(_features(taken)), _wearing(taken)]
    parts += [_prose_of(taken, name) for name in (*ACTION, *VIEW, *FINISH, "quality")]
    return ", ".join(part for part in (*parts, free_text) if part)


def _natural(taken: Taken, free_text: str) -> str:
    pronoun = _pronoun(taken)
    verb = "are" if pronoun == "They" else "is"
    first = ", ".join(part for part in (_opening(taken, _who(taken)), _with(_features(taken))) if part)
    worn = _wearing(taken).removeprefix("wearing ")
    action = ", ".join(part for part in (_prose_of(taken, name) for name in ACTION) if part)
    view = ", ".join(part for part in (_prose_of(taken, name) for name in VIEW) if part)
    finish = ", ".join(part for part in (_prose_of(taken, name) for name in FINISH) if part)
    sentences = [
        first,
        f"{pronoun} {'wear' if pronoun == 'They' else 'wears'} {worn}" if worn else "",
        f"{pronoun} {verb} {'shown ' if action.startswith('with ') else ''}{action}" if action else "",
        f"The picture is {view}" if view else "",
        f"It is made {finish}" if finish else "",
        _capital(_prose_of(taken, "quality")),
        _capital(free_text),
    ]
    return " ".join(sentence.rstrip(".") + "." for sentence in sentences if sentence)


_STYLES: dict[str, Callable[[Taken, str], str]] = {"tags": _tags, "prose": _prose, "natural": _natural}


def _opening(taken: Taken, who: str) -> str:
    shot = _prose_of(taken, "shot")
    return f"{shot} of {who}" if shot and who else shot or who


def _who(taken: Taken) -> str:
    """Such as `a middle-aged, wiry woman, a village herbalist`."""
    adjectives = ", ".join(part for part in (_prose_of(taken, "age"), _prose_of(taken, "build")) if part)
    noun, role = _prose_of(taken, "gender"), _prose_of(taken, "identity")
    if not noun and role:
        if not adjectives:
            return role
        noun, role = re.sub(r"^(an?|the) ", "", role), ""
    if not (noun or adjectives):
        return ""
    described = f"{adjectives} {noun or 'person'}".strip()
    article = "an" if described.lstrip(_OPEN)[0] in "aeiou" else "a"
    return f"{article} {described}" + (f", {role}" if role else "")


def _features(taken: Taken) -> list[str]:
    found = [_prose_of(taken, name) for name in FEATURES]
    colour, cut = _prose_of(taken, "hair_colour"), _prose_of(taken, "hair_style")
    hair = f"{colour} hair {cut}".strip() if colour or cut else ""
    return [part for part in (*found[:2], hair, *found[2:]) if part]


def _wearing(taken: Taken) -> str:
    worn = [part for part in (_prose_of(taken, name) for name in WORN) if part]
    return f"wearing {_listed(worn)}" if worn else ""


def _with(features: list[str]) -> str:
    return f"with {_listed(features)}" if features else ""


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _prose_of(taken: Taken, name: str) -> str:
    return taken[name].prose if name in taken else ""


def _pronoun(taken: Taken) -> str:
    chosen = taken.get("gender")
    return PRONOUNS[chosen.gender[0]] if chosen and chosen.gender else "They"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _escaped(text: str) -> str:
    return re.sub(r"(?<!\\)([()])", r"\\\1", text)
