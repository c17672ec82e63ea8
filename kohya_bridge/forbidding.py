"""Parsing what people and files say into typed values, with every problem reported at once and in plain words.

In: a mapping from YAML, JSON, a node or the command line. Out: a pydantic model, or one `InvalidInput` that names each
wrong field, its value and what to write instead (unknown names get the nearest known one).
"""

from __future__ import annotations

import ast
import difflib
import inspect
import itertools
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from .breathing import breathe
from .counted import counted
from .errors import FieldProblem, InvalidInput
from .files import open_named

MAX_YAML_BYTES = 1 << 20
Model = TypeVar("Model", bound=BaseModel)
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml where PyYAML was built with it: ten times faster, which counts where a thousand plans are read."""


class Forbidding(BaseModel):
    """A frozen model that refuses unknown keys and takes each field's documentation from the string under it.

    pydantic's own `use_attribute_docstrings` does the same by asking `inspect` for every model, which costs a process
    that has thousands of modules, such as ComfyUI, more than a tenth of a second.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        for name, text in _documentation(cls.__module__).get(cls.__qualname__, {}).items():
            if name in cls.model_fields:
                cls.model_fields[name].description = text


@lru_cache(maxsize=64)
def _documentation(module: str) -> dict[str, dict[str, str]]:
    """Class name to field name to the string under the field, for the classes of a module's source."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return {}
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(Path(file).read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = dict(_documented(node.body))
    return found


def _documented(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for field, text in itertools.pairwise(body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        ):
            yield field.target.id, inspect.cleandoc(text.value.value)


def parse(model: type[Model], data: Any, *, what: str) -> Model:
    """`data` as a `model`. `what` names the source for the reader, such as "the plan" or a file name.

    Raises:
        InvalidInput: with one `FieldProblem` for each thing that is wrong.
    """
    if not isinstance(data, dict):
        raise InvalidInput(f"{what} is not a mapping of names to values.", "Write `name: value` lines.")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise InvalidInput(
            f"There {'is' if error.error_count() == 1 else 'are'} {counted(error.error_count(), 'problem')} in {what}:",
            "Mend these values and try again.",
            problems=[_problem(model, each) for each in error.errors(include_url=False)],
        ) from None


def read_yaml(file: Path) -> Any:
    """The content of a small YAML file, without aliases (a few hundred bytes of them can expand to gigabytes).

    Raises:
        InvalidInput: not UTF-8, not YAML, larger than 1 MiB, or with anchors and aliases.
    """
    with open_named(file) as stream:
        raw = stream.read(MAX_YAML_BYTES + 1)
    if len(raw) > MAX_YAML_BYTES:
        raise InvalidInput(
            f"{file.name} is larger than 1 MiB.", "A configuration is a page of text; is it the right file?"
        )
    try:
        return parse_yaml(raw.decode("utf-8-sig"), what=file.name)
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{file.name} is not UTF-8 text (byte {error.start}).", "Save it as UTF-8."
        ) from None


def parse_yaml(text: str, *, what: str) -> Any:
    """The content of YAML text, without aliases. `what` names the source for the reader.

    Raises:
        InvalidInput: not YAML, or with anchors and aliases.
    """
    try:
        if any(_is_alias(event) for event in yaml.parse(text, Loader=_LOADER)):
            raise InvalidInput(f"{what} uses YAML aliases (*name).", "Write the values out.")
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or "it can't be read"
        raise InvalidInput(f"{what} is not valid YAML{where}: {reason}.", "Mend that line.") from None
    except InvalidInput:
        raise
    except (ValueError, AttributeError, TypeError, OverflowError, RecursionError) as error:
        # A date that is none, a number of ten thousand digits: the loader's own constructors fail in their own ways.
        problem = f"{what} holds a value that YAML takes for something else: {str(error)[:200]}."
        raise InvalidInput(problem, "Write it in quotes.") from None


class _Loader(_LOADER):  # type: ignore[misc]
    """Refuses whole numbers that Python does not write out: every message about one would fail. Hexadecimal ones come that long."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        breathe()
        return super().construct_object(node, deep)

    def construct_int(self, node: yaml.ScalarNode) -> int:
        number: int = self.construct_yaml_int(node)
        str(number)
        return number


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_int)


def _is_alias(event: yaml.Event) -> bool:
    breathe()
    return isinstance(event, yaml.AliasEvent)


def _problem(model: type[BaseModel], error: Any) -> FieldProblem:
    location = ".".join(str(part) for part in error["loc"]) or "(whole)"
    kind, value = error["type"], error.get("input")
    shown = None if kind == "missing" or isinstance(value, (dict, BaseModel)) else value
    if kind == "extra_forbidden":
        known = _names_at(model, error["loc"][:-1])
        near = difflib.get_close_matches(str(error["loc"][-1]), known, n=1)
        fix = f"Did you mean {near[0]!r}?" if near else f"Known names: {', '.join(sorted(known))}."
        return FieldProblem(location, shown, "there is no setting of that name.", fix)
    if kind == "missing":
        return FieldProblem(location, None, "it is required and was not given.", "Add it.")
    if kind == "value_error":
        problem, _, fix = str(error["ctx"]["error"]).partition(" | ")
        return FieldProblem(location, shown, problem, fix)
    return FieldProblem(location, shown, *_in_words(kind, value, error))


def _names_at(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    for part in path:
        field = model.model_fields.get(str(part))
        nested = field.annotation if field else None
        if not (isinstance(nested, type) and issubclass(nested, BaseModel)):
            break
        model = nested
    return list(model.model_fields)


_NUMBERS = ("float_parsing", "float_type", "int_parsing", "int_type", "int_from_float", "finite_number")


def _in_words(kind: str, value: Any, error: Any) -> tuple[str, str]:
    """What pydantic found, as a person would say it, and what to do."""
    context = error.get("ctx", {})
    if kind in _NUMBERS:
        whole = "whole number" if kind.startswith("int_") else "number"
        with_point = str(value).replace(",", ".")
        if isinstance(value, str) and "," in value and _is_number(with_point):
            return f"it is no {whole}: decimals stand behind a point, not a comma.", f"Write {with_point}."
        return f"it is no {whole}.", f"Write a {whole}."
    if kind in ("greater_than", "greater_than_equal"):
        least = context.get("gt", context.get("ge"))
        return (f"it must be above {least:g}." if "gt" in context else f"the least is {least:g}."), ""
    if kind in ("less_than", "less_than_equal"):
        most = context.get("lt", context.get("le"))
        return (f"it must be below {most:g}." if "lt" in context else f"the most is {most:,}."), ""
    if kind in ("bool_parsing", "bool_type"):
        return "it is neither true nor false.", "Write true or false."
    if kind == "literal_error":
        return f"it is none of {context.get('expected', '').replace(' or ', ', ')}.", "Write one of them."
    if kind in ("string_type", "list_type", "dict_type", "tuple_type"):
        wanted = {"string_type": "text", "dict_type": "a mapping of names to values"}.get(kind, "a list")
        return f"it is not {wanted}.", f"Write {wanted}."
    return _sentence(error["msg"]), ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _sentence(message: str) -> str:
    message = message.removeprefix("Input ").strip()
    return message[:1].lower() + message[1:].rstrip(".") + "."
