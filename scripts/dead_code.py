"""Functions, methods and classes that nothing calls: `python -m scripts.dead_code`. Exit code 1 when there are any.

vulture finds them, by name. Three looks: the pack with the scripts, since what only a test calls is not called; the scripts with
the tests as callers; and each module alone for its private names, since another module's function of that name hides a
dead one. What vulture can't see is in NAMED_ELSEWHERE, each with who calls it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from vulture import Vulture
from vulture.core import Item

from .host.comfy_install import ROOT

KINDS = ("function", "method", "class", "property", "unreachable_code")
"""Not variables and attributes: many are fields that are written to files or read by somebody else's program."""
CALLED_BY_DECORATOR = ["@trial", "@*_validator*", "@pytest.fixture*", "@*.register*"]
NAMED_ELSEWHERE = [
    *("define_schema", "fingerprint_inputs", "validate_inputs"),  # ComfyUI, on every node
    "_on_*",  # RunState, by the kind of the event
    "KohyaEngine",  # engines/registry.py, by a name in a string
    *("forward", "__getattr__"),  # torch, on a module
    "store_init_configuration",  # accelerate, on a tracker
    *("do_GET", "do_POST", "log_message"),  # http.server
    "_split_scope",  # pytest-xdist, on a scheduler
    *("Mute", "test_*", "Test*", "pytest_*"),
    "SdxlNetworkTrainer",  # engines/kohya/runner.py, of the double as of sd-scripts
]
ONLY_TESTS_CALL = [
    "stop_watching",  # the other half of Desk.start_watching; a ComfyUI watches to its end
    "parsers",  # the shell's verbs, which docs/cli.md is held against
]


def main() -> int:
    found = sorted({f"{_place(item)}: {item.message}" for item in dead_code(ROOT)})
    print("\n".join(found) if found else "Everything is called by something.")
    return 1 if found else 0


def dead_code(root: Path) -> Iterator[Item]:
    """What nothing calls in the checkout at `root`."""
    pack, scripts, tests = (
        [root / "kohya_bridge", root / "nodes", root / "__init__.py"],
        root / "scripts",
        root / "tests",
    )
    yield from _unused([*pack, scripts], of=pack, named=[*NAMED_ELSEWHERE, *ONLY_TESTS_CALL])
    yield from _unused([*pack, scripts, tests], of=[scripts], named=NAMED_ELSEWHERE)
    for file in (file for place in (*pack, scripts, tests) for file in _modules(place)):
        alone = _unused([file], of=[file], named=NAMED_ELSEWHERE)
        yield from (item for item in alone if item.name.startswith("_"))


def _unused(callers: list[Path], *, of: list[Path], named: list[str]) -> Iterator[Item]:
    vulture = Vulture(ignore_names=named, ignore_decorators=CALLED_BY_DECORATOR)
    vulture.scavenge([str(each) for each in callers])
    for item in vulture.get_unused_code():
        if item.typ in KINDS and any(Path(item.filename).resolve().is_relative_to(each) for each in of):
            yield item


def _modules(place: Path) -> list[Path]:
    return [place] if place.is_file() else sorted(place.rglob("*.py"))


def _place(item: Item) -> str:
    return f"{Path(item.filename).resolve().relative_to(ROOT)}:{item.first_lineno}"


if __name__ == "__main__":
    sys.exit(main())
