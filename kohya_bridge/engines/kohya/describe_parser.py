"""`python -m kohya_bridge.engines.kohya.describe_parser CHECKOUT SCRIPT`, in sd-scripts' interpreter: its options as JSON.

In: a checkout and a script's name. Out: one line on stdout, a JSON list. What the parser says of itself is the only list of
options that is right for its commit.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from .upstream import load_upstream


def describe(parser: argparse.ArgumentParser) -> list[dict[str, Any]]:
    """Name, type, choices, default and the English part of the help of every option."""
    return [_row(action) for action in parser._actions if action.dest != "help"]


def _row(action: argparse.Action) -> dict[str, Any]:
    default = action.default
    return {
        "name": action.dest,
        "type": _type(action),
        "many": action.nargs in ("*", "+"),
        "choices": list(action.choices) if action.choices else None,
        "default": default
        if isinstance(default, (str, int, float, bool, list, type(None)))
        else str(default),
        "help": re.split(r"\s/\s", action.help or "")[0].strip()[:300],
    }


def _type(action: argparse.Action) -> str:
    if action.nargs == 0:
        return "flag"
    if action.type in (int, float):
        return str(action.type.__name__)
    if action.type is Path:
        return "path"
    if getattr(action.type, "__name__", "") == "int_or_float":
        return "number"
    return "str"


if __name__ == "__main__":
    described = describe(load_upstream(Path(sys.argv[1]), sys.argv[2]).script.setup_parser())
    print(json.dumps(described, ensure_ascii=False), flush=True)
