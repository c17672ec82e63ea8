"""Which worker runs what: tests that share something that takes long to start stay together."""

from __future__ import annotations

import pytest

from kohya_bridge.workspace import PACK_ROOT
from tests import tiers


@pytest.mark.parametrize(
    ("nodeid", "group"),
    [
        ("tests/host/test_bad_input.py::test_it[a::b]", "tests/host"),
        ("tests/host_models/test_runs.py::test_it", "tests/host_models"),
        ("tests/native/test_resume.py::test_it", "tests/native/test_resume.py"),
        ("tests/test_names.py::test_it", "tests/test_names.py"),
    ],
)
def test_a_group_is_a_folder_that_shares_a_comfyui_or_a_file(nodeid, group):
    assert tiers.group_of(nodeid) == group


def test_what_is_begun_first_is_there():
    assert [each for each in tiers.FIRST if not (PACK_ROOT / each).exists()] == []


def test_a_group_that_two_workers_ran_parts_of_is_noticed():
    """The plugin's own way to group tests did nothing for weeks, and said nothing."""
    seen = tiers.Divided()
    seen.take("tests/a.py::test_1", "gw0")
    seen.take("tests/b.py::test_1", "gw1")
    seen.take("tests/a.py::test_2", "gw0")
    assert seen.groups() == []
    seen.take("tests/a.py::test_3", "gw1")
    assert seen.groups() == ["tests/a.py"]
