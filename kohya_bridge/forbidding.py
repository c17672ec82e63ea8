"""Parsing what people and files say into typed values, with every problem reported at once and in plain words.

In: a mapping from YAML, JSON, a node or the command line. Out: a pydantic model, or one `InvalidInput` that names each
wrong field, its value and what to write instead (unknown names get the nearest known one).
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from .breathing import breathe
from .counted import counted
from .errors import InvalidInput
from .files import open_named
from .reasons import in_yaml
from .wrong_values import field_problems

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
    if data is None:
        raise InvalidInput(f"{what} is empty.", "Write `name: value` lines.")
    if not isinstance(data, dict):
        raise InvalidInput(f"{what} is not a mapping of names to values.", "Write `name: value` lines.")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = field_problems(model, error)
        is_one = len(problems) == 1
        raise InvalidInput(
            f"There {'is' if is_one else 'are'} {counted(len(problems), 'problem')} in {what}:",
            f"Correct {'this value' if is_one else 'these values'} and try again.",
            problems=problems,
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
        said = in_yaml(error, text)
        raise InvalidInput(f"{what} is not valid YAML{said.where}: {said.reason}.", said.fix) from None
    except InvalidInput:
        raise
    except (ValueError, AttributeError, TypeError, OverflowError, RecursionError) as error:
        # A date that is none, a number of ten thousand digits: the loader's own constructors fail in their own ways.
        raise InvalidInput(
            f"{what} holds {_odd_value(error)}.", "Correct it, or write it in quotes."
        ) from None


def _odd_value(error: Exception) -> str:
    """What YAML's own constructors stumbled over: a date that is none, a number of ten thousand digits."""
    said = str(error).lower()
    if "digits" in said:
        return "a number of too many digits"
    if re.search("year|month|day|hour|minute|second|offset", said):
        return "a value that looks like a date and is not one"
    return (
        "a value that looks like a number and is not one"
        if re.search("int|float", said)
        else "a value that can't be read"
    )


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
