"""Any byte of any file that holds a list may change: every other element is still told, in strict JSON, with documented exit codes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from kohya_bridge.event_reader import EventReader
from scripts.chaos.lists import make_lists, spoil

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(600)]
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_lists(tmp_path_factory.mktemp("lists"))


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=some.data())
def test_a_byte_that_changes_in_a_list_hides_no_other_element(made, tmp_path_factory, data):
    file = data.draw(some.sampled_from(made.files()))
    content = bytearray(file.read_bytes())
    if content:
        content[data.draw(some.integers(0, len(content) - 1))] = data.draw(some.integers(0, 255))
    place = tmp_path_factory.getbasetemp() / f"spoilt-{next(NUMBERS)}"
    tried = spoil(made, place, file.relative_to(made.place).as_posix(), bytes(content))
    assert tried.wrong == []


def test_a_reader_that_stops_at_an_odd_line_is_noticed(made, tmp_path, monkeypatch):
    def stop(self, line, event):
        raise RuntimeError("an odd line")

    name = made.run.events_file.relative_to(made.place).as_posix()
    lines = made.run.events_file.read_bytes().splitlines(keepends=True)
    spoilt = b"".join([*lines[:3], b"{}\n", *lines[4:]])
    assert spoil(made, tmp_path / "a", name, spoilt).wrong == []
    monkeypatch.setattr(EventReader, "_odd", stop)
    assert any("exit code" in sentence for _, sentence in spoil(made, tmp_path / "b", name, spoilt).wrong)
