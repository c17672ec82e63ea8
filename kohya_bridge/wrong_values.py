"""What a parser of typed values found wrong, as a person would say it, and what to write instead.

In: pydantic's `ValidationError` and the model that refused. Out: one `FieldProblem` for each wrong field. A validator's own words come as
`problem | fix` in its ValueError; all others are put into words here, so that no sentence of the library reaches a reader.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from .counted import counted
from .errors import FieldProblem

_NUMBERS = ("float_parsing", "float_type", "int_parsing", "int_type", "int_from_float", "finite_number")
MOST_NAMES = 30
"""Known names that are listed where none is near."""
_KINDS = {
    "string_type": "text",
    "string_unicode": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping of names to values",
    "model_type": "a mapping of names to values",
    "model_attributes_type": "a mapping of names to values",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
}
"""pydantic's kinds of errors, and what it wanted."""
_AS_YAML = {
    "a mapping of names to values": "Write `name: value` lines below it.",
    "a list": "Write it in brackets, with commas between: [one, two].",
}
_PATTERNS = {
    r"^[0-9a-f]{64}$": ("a SHA-256 digest", "Write its 64 digits, of 0-9 and a-f."),
    r"^(?:[0-9a-f]{64})?$": ("a SHA-256 digest", "Write its 64 digits, of 0-9 and a-f."),
    r"^[0-9a-f]{16}$": ("a digest of 16 digits", "Write its 16 digits, of 0-9 and a-f."),
    r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}$": ("a plain name", "Use letters, digits and _ . + - only, at most 100 of them."),
    r"^[^\n\r\t]+$": ("one line of text", "Leave out line breaks and tabs."),
    r"^[^\n\r\t]*$": ("one line of text", "Leave out line breaks and tabs."),
    r"^[a-z][a-z_]{0,31}$": ("a plain name", "Use a-z and '_' only, at most 32 of them."),
    r"^[EWI]\d{3}$": ("the id of a lint rule", "Write a letter and three digits, such as W210."),
}  # fmt: skip
"""The patterns of our models, and what fits them."""


def field_problems(model: type[BaseModel], error: ValidationError) -> list[FieldProblem]:
    """One problem for each wrong field, in the order of the fields."""
    found = _within_lists(error.errors(include_url=False))
    return [_problem(model, path, group) for path, group in _by_field(found)]


Path = tuple[Any, ...]


def _within_lists(errors: list[Any]) -> list[Any]:
    """Where a value may be a list among other kinds and is one, what is wrong lies in the list: that alone counts."""
    inside = [each for each in errors if any("[" in str(part) for part in each["loc"][:-1])]
    for each in inside:
        at = next(n for n, part in enumerate(each["loc"]) if "[" in str(part))
        parent = each["loc"][:at]
        errors = [other for other in errors if other in inside or other["loc"][:-1] != parent]
        each["loc"] = (*parent, *each["loc"][at + 1 :])
    return errors


def _by_field(errors: list[Any]) -> Iterator[tuple[Path, list[Any]]]:
    """Errors by the place of the wrong value. Where a value may be of several kinds, pydantic tells an error of each, with the kind as
    the last part of the place."""
    at = 0
    while at < len(errors):
        first = errors[at]
        parent = first["loc"][:-1]
        group = [first]
        while at + len(group) < len(errors) and _is_of_one(first, errors[at + len(group)]):
            group.append(errors[at + len(group)])
        at += len(group)
        yield (parent if len(group) > 1 else first["loc"]), group


def _is_of_one(first: Any, other: Any) -> bool:
    same_kind = first["type"] in ("extra_forbidden", "missing") or other["type"] in ("extra_forbidden", "missing")  # fmt: skip
    inside = other["loc"][: len(first["loc"]) - 1] == first["loc"][:-1] and len(first["loc"]) > 1
    return inside and not same_kind and other.get("input") is first.get("input")


def _problem(model: type[BaseModel], path: Path, group: list[Any]) -> FieldProblem:
    error = next((each for each in group if each["type"] == "value_error"), group[0])
    kind, value = error["type"], error.get("input")
    shown = None if kind == "missing" or isinstance(value, (dict, BaseModel)) else value
    field = _place(path)
    if kind == "extra_forbidden":
        return FieldProblem(field, shown, "there is no setting of that name.", _near_name(model, path))
    if kind == "missing":
        return FieldProblem(field, None, "it is required and was not given.", "Add it.")
    if kind == "value_error":
        problem, _, fix = str(error["ctx"]["error"]).partition(" | ")
        return FieldProblem(field, shown, _full_stop(problem), _full_stop(fix))
    if value is None:
        known = model.model_fields.get(str(path[0])) if len(path) == 1 else None
        needed = known is not None and known.is_required()
        return FieldProblem(
            field, None, "it is empty.", "Write a value." if needed else "Write a value, or leave it out."
        )
    if len(group) > 1:
        kinds = [kind for kind in dict.fromkeys(_wanted(each) for each in group) if kind != "''"]
        wanted = " or ".join(filter(None, [", ".join(kinds[:-1]), kinds[-1]]))
        return FieldProblem(field, shown, f"it is not {wanted}.", f"Write {wanted}.")
    return FieldProblem(field, shown, *in_words(error))


def _place(path: Path) -> str:
    """`settings.unet_lr`, `waivers number 2, rule`; empty for the whole."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f" number {part + 1}"
        elif " number " in text:
            text += f", {part}"
        else:
            text += f".{part}" if text else str(part)
    return text.strip()


def _near_name(model: type[BaseModel], path: Path) -> str:
    for part in path[:-1]:
        field = model.model_fields.get(str(part))
        model = _nested(field.annotation if field else None) or model
    known, name = list(model.model_fields), str(path[-1])
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower())
    meant: str = getattr(model, "also_called", {}).get(plain, "")
    if "." in meant:
        return f"Write it under `{meant.split('.')[0]}:`."
    near = [meant] if meant else difflib.get_close_matches(plain, known, n=1)
    if near:
        return f"Did you mean {near[0]!r}?"
    names = sorted(known)
    more = f", and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"Known names: {', '.join(names[:MOST_NAMES])}{more}."


def _nested(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds, by itself or in a list or a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_nested, get_args(annotation))), None)


def _wanted(error: Any) -> str:
    kind = error["type"]
    if kind in _NUMBERS:
        return "a number"
    return _KINDS.get(kind) or (str(error["ctx"]["expected"]) if kind == "literal_error" else "text")


def in_words(error: Any) -> tuple[str, str]:
    """`(problem, fix)` of one of pydantic's errors."""
    kind, value, context = error["type"], error.get("input"), error.get("ctx", {})
    if kind in _NUMBERS:
        return _about_number(value, whole=kind.startswith("int_"))
    if kind in _LIMITS:
        return _LIMITS[kind](context), ""
    if kind in ("bool_parsing", "bool_type"):
        return "it is neither true nor false.", "Write true or false."
    if kind == "literal_error":
        return _about_choice(value, str(context.get("expected", "")))
    if kind == "string_pattern_mismatch":
        form, fix = _PATTERNS.get(context["pattern"], ("of the form that is needed", "See the documentation of this name."))  # fmt: skip
        return ("it is empty." if value == "" else f"it is not {form}."), fix
    wanted = _KINDS.get(kind)
    if wanted:
        is_no_text = (wanted == "text" and isinstance(value, (bool, int, float))) or hasattr(
            value, "isoformat"
        )
        fix = f"Write it in quotes: '{value}'." if is_no_text else _AS_YAML.get(wanted, f"Write {wanted}.")
        return f"it is not {wanted}.", fix
    return "it does not fit here.", "See the documentation of this name."


def _about_number(value: Any, *, whole: bool) -> tuple[str, str]:
    wanted = "a whole number" if whole else "a number"
    text = str(value).strip()
    if not isinstance(value, str) or "," not in text:
        return f"it is not {wanted}.", f"Write {wanted}."
    if whole and re.fullmatch(r"[+-]?[1-9]\d{0,2}(,\d{3})+", text):
        return f"it is not {wanted}: no comma stands between thousands.", f"Write {text.replace(',', '')}."
    if not whole and (meant := with_point(text)):
        return f"it is not {wanted}: decimals stand behind a point, not a comma.", f"Write {meant}."
    return f"it is not {wanted}.", f"Write {wanted}."


def with_point(text: str) -> str:
    """A number whose decimals stand behind a comma, with a point; empty for anything else."""
    is_one = re.fullmatch(r"\s*[+-]?\d*,\d+(?:[eE][+-]?\d+)?\s*", text)
    return text.strip().replace(",", ".") if is_one else ""


def _about_choice(value: Any, expected: str) -> tuple[str, str]:
    names = re.findall(r"'([^']*)'", expected)
    listed = ", ".join(names) if names else expected.replace(" or ", ", ")
    if "," not in listed:
        return f"it must be {listed}.", f"Write {listed}."
    near = difflib.get_close_matches(str(value).lower(), [name.lower() for name in names], n=1)
    meant = next((name for name in names if near and name.lower() == near[0]), "")
    return f"it is none of {listed}.", f"Did you mean {meant!r}?" if meant else "Write one of them."


def _plain(number: Any) -> str:
    return str(int(number)) if float(number).is_integer() else f"{number:g}"


def _characters(context: dict[str, Any], limit: str) -> str:
    return counted(int(context[limit]), "character")


def _entries(context: dict[str, Any], limit: str) -> str:
    return counted(int(context[limit]), "entry", "entries")


_LIMITS: dict[str, Callable[[dict[str, Any]], str]] = {
    "greater_than": lambda context: f"it must be above {_plain(context['gt'])}.",
    "greater_than_equal": lambda context: f"the least is {_plain(context['ge'])}.",
    "less_than": lambda context: f"it must be below {_plain(context['lt'])}.",
    "less_than_equal": lambda context: f"the most is {_plain(context['le'])}.",
    "string_too_long": lambda context: f"it is too long: the most is {_characters(context, 'max_length')}.",
    "string_too_short": lambda context: (
        "it is empty."
        if context["min_length"] == 1
        else f"it is too short: the least is {_characters(context, 'min_length')}."
    ),
    "too_long": lambda context: f"it has too many entries: the most is {_entries(context, 'max_length')}.",
    "too_short": lambda context: f"it has too few entries: the least is {_entries(context, 'min_length')}.",
}


def _full_stop(sentence: str) -> str:
    return sentence if not sentence or sentence.endswith((".", "?", "!")) else f"{sentence}."
