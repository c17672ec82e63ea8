"""Which tests run when: the marks of a test say what it needs, and this module turns them into tiers, groups and an order.

`quick` is everything but the campaigns that needs nothing but Python and the packages of a shell: no torch in this process or in one that the
test starts, no ComfyUI, no browser, no sd-scripts. `python -m pytest -m quick` runs it on any system, and without torch:
where torch is installed it is declared absent, in the children too, so that a test without its mark fails at once.
`full` and `limits` only run where `-m` names them.

With several workers (pytest-xdist) the tests of a file stay together, as they share fixtures, and so do the folders whose tests
share what takes long to start. What takes longest begins first.
"""

from __future__ import annotations

import os
import re
import runpy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

APART = ("full", "limits")
NEEDS = ("host", "torch", "browser", "sdscripts", "campaign", *APART)
TOGETHER = ("tests/host", "tests/host_models")
"""Folders whose tests share a ComfyUI for a session: one worker runs them, in this order. What is shared elsewhere costs less twice."""
FIRST = (
    *TOGETHER,
    *("tests/native/test_resume.py", "tests/native/test_training.py", "tests/panel/test_real_frontend.py"),
    *(
        "tests/kohya/test_runner.py",
        "tests/validation/test_without_comfyui.py",
        "tests/kohya/test_under_the_desk.py",
    ),
    *("tests/desk/test_orders.py", "tests/desk/test_steering.py", "tests/test_growing_text.py"),
    *("tests/test_leaving_the_demo.py", "tests/cli/test_shell.py", "tests/desk/test_misbehaving_trainers.py"),
    *("tests/desk/test_queue.py", "tests/desk/test_lending.py"),
)
"""The groups that take longest, longest first, of all tests and of the quick ones."""
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


def group_of(nodeid: str) -> str:
    """The group of tests that one worker runs: a folder of `TOGETHER`, else the test's file."""
    file = nodeid.partition("::")[0]
    return next((folder for folder in TOGETHER if file.startswith(folder + "/")), file)


def by_length(item: pytest.Item) -> int:
    """A sorting key that brings forward what takes longest: begun last, it would leave the other workers without work."""
    group, marks = group_of(item.nodeid), marks_of(item)
    if group in FIRST:
        return FIRST.index(group)
    return len(FIRST) + next(
        (at for at, need in enumerate(("host", "campaign", "torch", "browser")) if need in marks), 4
    )


class Divided:
    """Notices a group whose tests ran in several workers."""

    def __init__(self) -> None:
        self._workers: dict[str, set[str]] = {}

    def take(self, nodeid: str, worker: str) -> None:
        self._workers.setdefault(group_of(nodeid), set()).add(worker)

    def groups(self) -> list[str]:
        return [group for group, workers in self._workers.items() if len(workers) > 1]


def scheduler(config: pytest.Config, log: Any) -> Any:
    """pytest-xdist's scheduling by groups, with these groups: its own `loadgroup` marks tests in a way that pytest 9.2 no longer sees,
    and every worker then starts a ComfyUI of its own."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    config.option.loadscopereorder = False  # by number of tests: what takes minutes would come last
    return ByGroup(config, log)
