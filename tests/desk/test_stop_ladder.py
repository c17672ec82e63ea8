"""The ladder climbs one rung at a time, each with its seconds, and remembers what it did."""

from __future__ import annotations

import json

from kohya_bridge.stop_ladder import AT_ONCE, SOFT, Ladder, Rung, read_climbed, requested_rungs


class Rehearsal:
    """A ladder with a clock that is moved by hand."""

    def __init__(self, tmp_path, rungs):
        self.now, self.sent, self.told = 0.0, [], []
        self.ladder = Ladder(
            rungs,
            send=lambda how: self.sent.append((self.now, how)) is None,
            tell=self.told.append,
            file=tmp_path / "stopping.json",
            clock=lambda: self.now,
        )

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.ladder.step()
            self.now += 0.5


def test_asking_sends_no_signal_and_each_signal_waits_for_its_time(tmp_path):
    rehearsal = Rehearsal(
        tmp_path, (Rung("ask", 10), Rung("interrupt", 5), Rung("terminate", 2), Rung("kill", 1))
    )
    rehearsal.run(9)
    assert rehearsal.sent == []
    rehearsal.run(60)
    assert rehearsal.sent == [(10.0, "interrupt"), (15.0, "terminate"), (17.0, "kill")]


def test_every_rung_is_told_and_kept_with_its_time(tmp_path):
    rehearsal = Rehearsal(tmp_path, AT_ONCE)
    rehearsal.run(60)
    assert [row["how"] for row in read_climbed(tmp_path / "stopping.json")] == [
        "interrupt",
        "terminate",
        "kill",
    ]
    assert rehearsal.told[0] == "Interrupting the trainer; it has 5 seconds."


def test_a_request_may_name_its_rungs_and_an_empty_file_means_a_soft_stop(tmp_path):
    file = tmp_path / "stop"
    assert requested_rungs(file) is None
    file.touch()
    assert requested_rungs(file) == SOFT
    file.write_text("please")
    assert requested_rungs(file) == SOFT
    file.write_text(json.dumps({"rungs": [{"how": "kill", "seconds": 1}]}))
    assert requested_rungs(file) == (Rung("kill", 1.0),)


def test_patience_grows_shorter_up_the_ladder():
    for rungs in (SOFT, AT_ONCE):
        assert rungs[-1].how == "kill"
    assert SOFT[0].seconds > SOFT[1].seconds > SOFT[2].seconds
