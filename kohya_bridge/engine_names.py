"""The engines by name, in the order in which `auto` considers them, and where each is found.

In: nothing. Out: names for plans, nodes and docs, and for `engines.registry` the module and class behind each. A new engine is
one line here. Nothing is imported: plans know the names, not the engines.
"""

from __future__ import annotations

AUTO = "auto"
"""What a person writes who leaves the choice to the pack."""

ENGINES: dict[str, tuple[str, str]] = {
    "native": ("native.engine", "NativeEngine"),
    "kohya": ("kohya.engine", "KohyaEngine"),
}
"""Name of each engine, its module below `engines` and its class there."""

CHOICES = (AUTO, *ENGINES)
"""What a request may say."""
