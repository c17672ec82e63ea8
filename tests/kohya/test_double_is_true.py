"""The double against the real source: its options, its hook points, its lines. Runs wherever sd-scripts is checked out."""

from __future__ import annotations

import ast
import re

import pytest

from kohya_bridge.architectures import ARCHITECTURES
from kohya_bridge.engines.kohya.checking import DECIDED_BY, REFUSED, _wrong_value
from kohya_bridge.engines.kohya.options import parser_options
from kohya_bridge.engines.kohya.render import render_options, script_name
from kohya_bridge.engines.kohya.surface import HOOK_POINTS, checkout_sources, moved, read_surface
from tests.kohya.test_render import places_for, plan_for
from tests.kohya_bench import DOUBLE, real_checkout, real_interpreter

pytestmark = [pytest.mark.sdscripts, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def options_of(tmp_path_factory):
    """A script's option list, of the real checkout."""
    cache = tmp_path_factory.mktemp("options")
    return lambda script: parser_options(real_checkout(), real_interpreter(), script, cache_dir=cache)


def test_the_real_checkout_has_every_hook_point_in_its_place():
    assert moved(checkout_sources(real_checkout().dir)) == []


def test_the_doubles_hook_points_take_the_parameters_of_the_real_ones():
    real, double = (read_surface(checkout_sources(each)) for each in (real_checkout().dir, DOUBLE))
    for point in HOOK_POINTS:
        ours, theirs = double[point.name].parameters, real[point.name].parameters
        assert ours == theirs[: len(ours)], point.name


def test_every_option_of_the_double_is_a_real_one_of_the_same_type_choices_and_default(options_of, tmp_path):
    import sys

    from kohya_bridge.engines.kohya.checkout import Checkout

    real = options_of("train_network")
    ours = parser_options(Checkout(DOUBLE, "double"), sys.executable, "train_network", cache_dir=tmp_path)
    for name, option in ours.items():
        assert name in real, name
        for field in ("type", "many", "choices", "default"):
            assert getattr(option, field) == getattr(real[name], field), (name, field)


def test_every_line_that_the_double_prints_is_one_of_the_real_programs():
    real = "\n".join(each.read_text("utf-8") for each in real_checkout().dir.rglob("*.py"))
    for file in (DOUBLE / "train_network.py", DOUBLE / "library" / "train_util.py"):
        for line in _said(file.read_text("utf-8")):
            assert line in real, line


def _said(source: str) -> list[str]:
    """The constant text of every logged or printed line, by its longest piece."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in ("logger.info", "logger.error", "accelerator.print", "print")
        ):
            continue
        for argument in node.args:
            pieces = argument.values if isinstance(argument, ast.JoinedStr) else [argument]
            texts = [
                each.value
                for each in pieces
                if isinstance(each, ast.Constant) and isinstance(each.value, str)
            ]
            longest = max(texts, key=len, default="").strip("\n")
            if re.search(r"\w{3}", longest):
                found.append(longest)
    return found


@pytest.mark.parametrize("family", [each.name for each in ARCHITECTURES.values() if each.kohya])
def test_everything_that_is_rendered_is_an_option_of_the_real_parser_with_a_value_that_it_takes(
    family, options_of
):
    plan = plan_for(family)
    real = options_of(script_name(plan))
    for name, value in render_options(plan, places_for(family)).items():
        assert name in real, name
        assert not _wrong_value(real[name], value), (name, value)


def test_every_option_that_is_refused_or_decided_by_a_setting_is_known_somewhere(options_of):
    known = set()
    for script in {each.kohya.script.removesuffix(".py") for each in ARCHITECTURES.values() if each.kohya}:
        known |= set(options_of(script))
    assert set(REFUSED) <= known
    renamed = {name for name, setting in DECIDED_BY.items() if name != setting}
    assert renamed <= known
