"""The engines by name, in the order in which `auto` considers them, and where each is found.

In: nothing. Out: names for plans, nodes and docs, and for `engines.registry` the module and class behind each. A new engine is
one line here. Nothing is imported: plans know the names, not the engines.
"""

from __future__ import annotations

from dataclasses import dataclass

AUTO = "auto"
"""What a person writes who leaves the choice to the pack."""


@dataclass(frozen=True)
class EngineName:
    """Where an engine is found and what it is called. `module` lies below `engines`; `tool` stands before its version in the
    metadata of a LoRA; `takes_kohya_options` tells whether it reads the kohya section of a plan."""

    module: str
    attribute: str
    title: str
    tool: str
    takes_kohya_options: bool = False


ENGINES: dict[str, EngineName] = {
    "native": EngineName("native.engine", "NativeEngine", "native engine", "wizdroid-native"),
    "kohya": EngineName("kohya.engine", "KohyaEngine", "sd-scripts", "sd-scripts", takes_kohya_options=True),
}

FIRST_ENGINE = next(iter(ENGINES))
"""The one that `auto` considers first."""

CHOICES = (AUTO, *ENGINES)
"""What a request may say."""

PLAIN = "sd-scripts"
"""sd-scripts by itself, given a dataset's folder without this pack: no engine, but eyes to look through."""

VIEWS = (*ENGINES, PLAIN)
"""Whose view of a dataset can be shown."""


def takes_kohya_options(engine: str) -> bool:
    """Whether the engine of that name reads the kohya section of a plan, where it also finds the further model files."""
    return engine in ENGINES and ENGINES[engine].takes_kohya_options
