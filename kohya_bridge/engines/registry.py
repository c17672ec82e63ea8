"""The engines, by name, in the order in which `auto` considers them.

In: nothing. Out: engine objects, imported when they are asked for. A new engine is one line here. Only its `engine.py` is
imported by the desk: what trains runs in a process of its own.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping

from .contract import Engine

_ENGINES = {
    "native": (".native.engine", "NativeEngine"),
    "kohya": (".kohya.engine", "KohyaEngine"),
}


def load_engines() -> Mapping[str, Engine]:
    """Every engine that this installation carries, by name."""
    return {
        name: _load(module, attribute) for name, (module, attribute) in _ENGINES.items() if _is_there(module)
    }


def _is_there(module: str) -> bool:
    return importlib.util.find_spec(module, __package__) is not None


def _load(module: str, attribute: str) -> Engine:
    engine: Engine = getattr(importlib.import_module(module, __package__), attribute)()
    return engine
