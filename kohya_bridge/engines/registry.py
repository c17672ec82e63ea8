"""The engines of this installation.

In: the names in `engine_names`. Out: engine objects, imported when they are asked for. Only an engine's `engine.py` is imported
by the desk: what trains runs in a process of its own.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping

from ..engine_names import ENGINES
from .contract import Engine


def load_engines() -> Mapping[str, Engine]:
    """Every engine that this installation carries, by name, in the order in which `auto` considers them."""
    return {
        name: _load(f".{each.module}", each.attribute)
        for name, each in ENGINES.items()
        if _is_there(f".{each.module}")
    }


def _is_there(module: str) -> bool:
    return importlib.util.find_spec(module, __package__) is not None


def _load(module: str, attribute: str) -> Engine:
    engine: Engine = getattr(importlib.import_module(module, __package__), attribute)()
    return engine


def in_words(engines: Mapping[str, Engine]) -> dict[str, str]:
    """`module:class` of engines that are none of this list, so that another process can have the same ones."""
    return {name: f"{type(each).__module__}:{type(each).__qualname__}" for name, each in engines.items()}


def from_words(words: Mapping[str, str]) -> Mapping[str, Engine]:
    """The engines that `in_words` told of."""
    named = {name: text.partition(":") for name, text in words.items()}
    return {
        name: getattr(importlib.import_module(module), kind)() for name, (module, _, kind) in named.items()
    }
