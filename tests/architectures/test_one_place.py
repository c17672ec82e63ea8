"""What a family or an engine is stands in one place: its name is written nowhere else, as a test of every string in the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kohya_bridge.architectures import ARCHITECTURES
from kohya_bridge.engine_names import ENGINES
from kohya_bridge.workspace import PACK_ROOT

FAMILY_NAMES = frozenset(each.name for each in ARCHITECTURES.values() if not each.untried)
WING = PACK_ROOT / "kohya_bridge" / "architectures"
# Scripts that make the demo's or a benchmark's model of a family: they are about that family and no other.
ABOUT_ONE_FAMILY = {
    "scripts/chaos/lists.py": {"sd15"},
    "scripts/bench.py": {"sd15", "sdxl"},
    "scripts/core_trainer_gradients.py": {"chroma", "zimage"},
    "scripts/golden_runs.py": {"sd15", "sdxl"},
    "scripts/host_real_size.py": {"zimage", "flux2_klein_4b", "flux2_klein_base_4b"},
    "scripts/demo_base/captions.py": {"sd15"},
    "scripts/demo_base/measure.py": {"sd15"},
    "scripts/demo_base/seeded_text.py": {"sd15"},
    "scripts/demo_base/train_denoiser.py": {"sd15"},
    "scripts/make_demo_base.py": {"sd15", "sdxl"},
    "scripts/make_demo_dataset.py": {"sd15"},
    "scripts/real_size.py": {"sd15", "sdxl"},
    "scripts/screenshots.py": {"sdxl"},
}
# An engine knows its own name, and some folders, captions' origins and sections of a plan are called kohya.
OF_ENGINES = {
    "kohya_bridge/cli/training.py": {"kohya"},
    "kohya_bridge/datasets/dataset_transfer.py": {"kohya"},
    "kohya_bridge/datasets/foreign_captions.py": {"kohya"},
    "kohya_bridge/datasets/foreign_layout.py": {"kohya"},
    "kohya_bridge/plan.py": {"kohya"},
    "kohya_bridge/runs/experiments.py": {"kohya"},
    "kohya_bridge/runs/retry.py": {"kohya"},
    "kohya_bridge/steering/preflight.py": {"kohya"},
    "kohya_bridge/workspace.py": {"kohya"},
    "kohya_bridge/building/character_options.py": {"kohya"},
    "nodes/caption_export_node.py": {"kohya"},
    "nodes/kohya_train_node.py": {"kohya"},
    "nodes/training_settings_node.py": {"kohya"},
}


def sources(*folders: str) -> list[Path]:
    return [file for folder in folders for file in sorted((PACK_ROOT / folder).rglob("*.py"))]


def literals(file: Path) -> Iterator[tuple[int, str]]:
    """Every string of a module with its line."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def named(file: Path) -> str:
    return file.relative_to(PACK_ROOT).as_posix()


@pytest.mark.parametrize("file", sources("kohya_bridge", "nodes", "scripts"), ids=named)
def test_a_familys_name_is_written_in_the_wing_only(file):
    if WING in file.parents:
        return
    allowed = ABOUT_ONE_FAMILY.get(named(file), set())
    found = [(line, text) for line, text in literals(file) if text in FAMILY_NAMES - allowed]
    assert not found, f"{named(file)} knows a family by name: put what it knows into architectures/"


@pytest.mark.parametrize("file", sources("kohya_bridge", "nodes"), ids=named)
def test_an_engines_name_is_written_in_the_list_and_in_the_engine_only(file):
    if file.name == "engine_names.py" or "engines" in file.parts:
        return
    allowed = OF_ENGINES.get(named(file), set())
    assert not [(line, text) for line, text in literals(file) if text in set(ENGINES) - allowed]


def test_the_lists_of_exceptions_hold_nothing_that_is_no_longer_needed():
    for exceptions in (ABOUT_ONE_FAMILY, OF_ENGINES):
        for name, words in exceptions.items():
            used = {text for _, text in literals(PACK_ROOT / name)}
            assert words <= used, f"{name} no longer says {words - used}"


def test_the_panel_knows_neither_families_nor_engines_by_name():
    words = "|".join(map(re.escape, [*sorted(FAMILY_NAMES), *ENGINES]))
    quoted = re.compile(rf"""["'`]({words})["'`]""")
    found = {
        (named(file), match.group())
        for file in (PACK_ROOT / "web" / "js").rglob("*.js")
        for match in quoted.finditer(file.read_text("utf-8"))
    }
    assert not found
