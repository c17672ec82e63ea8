"""Which tests run when: the marks of a test say what it needs, and this module turns them into tiers, groups and an order.

`quick` is everything that needs nothing but Python and the packages of a shell: no torch in this process or in one that the
test starts, no ComfyUI, no browser, no sd-scripts. `python -m pytest -m quick` runs it on any system, and without torch:
where torch is installed it is declared absent, in the children too, so that a test without its mark fails at once.
`full` and `limits` only run where `-m` names them.

With pytest-xdist's `--dist loadgroup` the tests of a file stay together, as they share fixtures, and so do all that share
the session's ComfyUI. What takes longest begins first.
"""

from __future__ import annotations

import os
import re
import runpy
from collections.abc import Iterable
from pathlib import Path

import pytest

APART = ("full", "limits")
NEEDS = ("host", "torch", "browser", "sdscripts", *APART)
SHARES_COMFYUI = "comfy"
"""The fixture of the one ComfyUI of a session."""
_NEEDY_FILE = re.compile(rf"^pytestmark = .*\bmark\.({'|'.join(NEEDS)})\b", re.M)


def is_quick(config: pytest.Config) -> bool:
    """Whether this run is of the quick tier only."""
    return bool(config.option.markexpr == "quick")


def without_torch() -> None:
    """Let this process and every Python that it starts find no torch, as on a machine that has none."""
    hiding = Path(__file__).with_name("without_torch")
    runpy.run_path(str(hiding / "sitecustomize.py"))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(hiding), os.environ.get("PYTHONPATH")]))


def is_needy(file: Path) -> bool:
    """Whether a file says of all its tests that they are not quick: such a file may import what it needs."""
    return file.suffix == ".py" and bool(_NEEDY_FILE.search(file.read_text("utf-8")))


def marks_of(item: pytest.Item) -> set[str]:
    return {mark.name for mark in item.iter_markers()}


def is_left_out(item: pytest.Item, expression: str) -> bool:
    return any(mark in marks_of(item) and mark not in expression for mark in APART)


def mark_quick(items: Iterable[pytest.Item]) -> None:
    for item in items:
        if not marks_of(item) & set(NEEDS):
            item.add_marker("quick")


def group(items: Iterable[pytest.Item]) -> None:
    """Name for each test the group that one worker runs."""
    for item in items:
        shares = SHARES_COMFYUI in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group(SHARES_COMFYUI if shares else item.nodeid.partition("::")[0]))


def by_length(item: pytest.Item) -> int:
    """A sorting key that brings forward what takes minutes; the order of files stays as it is otherwise."""
    if SHARES_COMFYUI in getattr(item, "fixturenames", ()):
        return 0
    marks = marks_of(item)
    return 1 if "host" in marks else 2 if "torch" in marks else 3 if "browser" in marks else 4
