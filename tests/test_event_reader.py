"""Reading an event file: everything that can be read is, once, whatever stands between it; and what is odd is told."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as some

from kohya_bridge import state_reader
from kohya_bridge.errors import UnusableFile
from kohya_bridge.event_reader import EventReader, OddLines, Place, last_event, read_events
from kohya_bridge.events import EventLog, encode
from kohya_bridge.files import Tree
from kohya_bridge.run_state import fold
from kohya_bridge.state_reader import StateReader, StateReaders, read_state

FIXTURES = sorted((Path(__file__).parent / "fixtures" / "events").glob("*.jsonl"))
SOUND = [file.read_bytes() for file in FIXTURES if file.stem != "duplicates_and_gaps"]
"""That one is a story as a page may hear it; no trainer writes numbers that fall."""


def told(events) -> list[dict]:
    """Events without their numbers, which a spoilt one before them may have moved."""
    return [{name: value for name, value in event.items() if name != "seq"} for event in events]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("run") / "events.jsonl"


@given(some.sampled_from(SOUND), some.integers(0), some.integers(0, 255))
def test_a_byte_that_changes_costs_the_events_of_its_line_alone(file, sound, at, byte):
    at %= len(sound)
    file.write_bytes(sound[:at] + bytes([byte]) + sound[at + 1 :])
    reader = EventReader(file)
    read = list(reader.fresh())
    lines = sound.split(b"\n")[:-1]
    hit = sound[:at].count(b"\n")
    joined = sound[at : at + 1] == b"\n" and byte != 10
    before, behind = lines[:hit], lines[hit + 1 + joined :]
    assert told(read)[: len(before)] == told(map(json.loads, before))
    last_is_open = joined and hit == len(lines) - 1
    assert told(read)[len(read) - len(behind) :] == told(map(json.loads, behind)) or last_is_open
    assert [event["seq"] for event in read] == sorted({event["seq"] for event in read})
    missing = len(lines) - len(read) - joined
    assert missing <= 0 or reader.odd.count or last_is_open
    if reader.odd.count:
        assert str(reader.odd.line) in str(reader.odd) and reader.odd.line in (hit + 1, hit + 2)
    json.dumps(fold(read).to_json(), allow_nan=False, ensure_ascii=False).encode()


@given(some.sampled_from(SOUND), some.lists(some.integers(0), max_size=8), some.booleans())
def test_a_file_that_grows_is_read_as_one_that_is_whole(file, sound, cuts, spoilt):
    if spoilt:
        sound = sound.replace(b'"seq":7,', b'"seq":700,').replace(b'"seq":11,', b'"seq":"x",')
    file.write_bytes(b"")
    reader, state, read = EventReader(file), StateReader(file), []
    for cut in sorted(cut % len(sound) for cut in cuts):
        file.write_bytes(sound[:cut])
        reader = EventReader(file, Place.from_json(json.loads(json.dumps(reader.place.to_json()))))
        read += reader.fresh()
        state.look()
    file.write_bytes(sound)
    read += reader.fresh()
    whole = EventReader(file)
    assert read == list(whole.fresh()) and reader.place == whole.place
    assert state.look() == read_state(file) and state.odd == whole.odd


@given(
    some.sampled_from(SOUND),
    some.integers(0, 60),
    some.integers(0, 9),
    some.integers(0),
    some.integers(100, 400),
)
def test_events_behind_a_number_are_those_of_the_whole_file(file, sound, after, kept, cut, long):
    """However many of them are kept, from whatever length on one is not, and whether it has grown since, or was emptied."""
    with patch.multiple(state_reader, RECENT=kept, MOST_KEPT_BYTES=long):
        readers = StateReaders()
        for told in (sound[: cut % len(sound)], sound, b"", sound[: cut % len(sound)]):
            file.write_bytes(told)
            assert readers.after(file, after, most=10_000) == list(read_events(file, after=after))


@pytest.fixture
def log(tmp_path):
    return tmp_path / "events.jsonl"


def write(file: Path, *numbers: int, kind: str = "queued") -> None:
    with open(file, "a") as stream:
        for number in numbers:
            stream.write(encode({"v": 1, "seq": number, "time": 1.0, "kind": kind, "position": number}))


class Counting(io.FileIO):
    """A file that counts what is read of it."""

    read_bytes = 0

    def readinto(self, buffer):
        count = super().readinto(buffer)
        Counting.read_bytes += count or 0
        return count


def test_reading_on_reads_only_what_was_added(log, monkeypatch):
    monkeypatch.setattr(Tree, "open", lambda self, file: io.BufferedReader(Counting(self.plain(file))))
    write(log, *range(1, 20_001))
    readers = StateReaders()
    assert readers.state(log).last_seq == 20_000
    whole, Counting.read_bytes = Counting.read_bytes, 0
    write(log, 20_001)
    line = len(encode({"v": 1, "seq": 20_001, "time": 1.0, "kind": "queued", "position": 20_001}))
    assert readers.state(log).last_seq == 20_001
    assert Counting.read_bytes <= line + 64 and whole >= log.stat().st_size - line
    Counting.read_bytes = 0
    assert [event["seq"] for event in readers.after(log, 19_998, most=9)] == [19_999, 20_000, 20_001]
    assert Counting.read_bytes < 0.06 * log.stat().st_size


def test_a_file_that_got_shorter_or_was_replaced_is_read_from_its_beginning(log):
    write(log, 1, 2, 3)
    reader, state = EventReader(log), StateReader(log)
    assert len(list(reader.fresh())) == 3 and state.look().last_seq == 3
    assert list(reader.fresh()) == [] and not reader.began_again
    log.unlink()
    assert list(reader.fresh()) == [] and state.look().last_seq == 0
    write(log, 1)
    assert len(list(reader.fresh())) == 1 and state.look().queue_position == 1
    other = log.with_name("other")
    write(other, *range(1, 9), kind="of_a_later_version")
    os.replace(other, log)
    assert len(list(reader.fresh())) == 8 and reader.began_again
    assert state.look().queue_position is None and state.look().last_seq == 8


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"v":1,"seq":2,"time":1,"kind":"progress","step":"x"}', "its `step` can't be 'x'"),
        (b'{"v":1,"seq":"2","time":1,"kind":"queued"}', "its `seq` can't be '2'"),
        (b'{"v":1,"seq":NaN,"time":1,"kind":"queued"}', "its `seq` can't be 'NaN'"),
        (b'{"v":1,"time":1,"kind":"queued"}', "it has no `seq`"),
        (b'{"v":1,"seq":2,"time":1,"kind":"checkpoint","step":1}', "it has no `file`"),
        (b'{"v":1,"seq":2,"time":1,"kind":"progress"}', "it has no `step`"),
        (b'{"v":1,"seq":2,"time":1,"kind":"queued","position":1e999}', "its `position` can't be inf"),
        (b'{"v":1,"seq":2,"time":1,"kind":"queued","x":[1e999]}', "it holds a number or a character that JSON does not have"),
        (b'{"v":1,"seq":2,"time":1,"kind":"queued","x":"\\ud800"}', "it holds a number or a character that JSON does not have"),
        (b'{"v":1,"seq":2,"time":1,"kind":"queued","x":' + b"9" * 5000 + b"}", "it is not JSON"),
        (b'{"v":1,"seq":2,"time":1,"kind":"qveued"}', "nobody writes events of kind 'qveued'"),
        (b'{"v":1,"seq":1,"time":1,"kind":"queued"}', "its `seq` is 1 behind 1; its place in the file counts"),
        (b'{"v":1,"seq":2,"time":1,"ki', "it is not JSON"),
        (b"\0" * 4000, "it is not JSON"),
        (b'"\xff"', "it is not UTF-8 text"),
        (b"[" * 200_000, "it is nested too deep"),
        (b"[]", "it is not a JSON object"),
        (b"x" * (5 << 20), "it is longer than 4 MiB"),
        (b"x" * (4 << 20), "it is longer than 4 MiB"),
    ],
    ids=range(19),
)  # fmt: skip
def test_what_is_odd_about_a_line_is_told_and_the_lines_behind_it_count(log, line, reason):
    write(log, 1)
    with open(log, "ab") as stream:
        stream.write(line + b"\n")
    write(log, 2, 3, 4)
    reader = EventReader(log)
    assert [event["position"] for event in reader.fresh() if event.get("position")] == [1, 2, 3, 4]
    assert reader.odd == OddLines(reader.odd.count, 2, reason) and "line 2" in str(reader.odd)
    EventLog(log).close()
    assert line in log.read_bytes()
    assert last_event(log)["position"] == 4


def test_blank_lines_and_a_mark_at_the_beginning_are_nothing_to_speak_of(log):
    log.write_bytes(
        b"\xef\xbb\xbf" + encode({"v": 1, "seq": 1, "time": 1, "kind": "queued"}).encode() + b"\r\n\n"
    )
    write(log, 2)
    reader = EventReader(log)
    assert [event["seq"] for event in reader.fresh()] == [1, 2] and not reader.odd.count


def test_a_writer_goes_on_behind_a_line_that_never_ended(log):
    write(log, 1)
    with open(log, "ab") as stream:
        stream.write(b"x" * (9 << 20))
    EventLog(log).write("queued", position=2)
    assert [event["position"] for event in read_events(log)] == [1, 2]


def test_a_pipe_is_no_event_file(log):
    os.mkfifo(log)
    with pytest.raises(UnusableFile):
        list(EventReader(log).fresh())
