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
        name: _load(f".{module}", attribute)
        for name, (module, attribute) in ENGINES.items()
        if _is_there(f".{module}")
    }


def _is_there(module: str) -> bool:
    return importlib.util.find_spec(module, __package__) is not None


def _load(module: str, attribute: str) -> Engine:
    engine: Engine = getattr(importlib.import_module(module, __package__), attribute)()
    return engine
