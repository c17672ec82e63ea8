"""A small part of every campaign of `make chaos`, and that a campaign notices what it looks for."""

from __future__ import annotations

import time

import pytest

from kohya_bridge.errors import InvalidInput
from scripts.chaos import folders as of_folders
from scripts.chaos.datasets import datasets
from scripts.chaos.disks import disks
from scripts.chaos.folders import folders
from scripts.chaos.parsers import READERS, parsers
from scripts.chaos.shell import shell
from scripts.chaos.starts import starts
from scripts.chaos.tried import CRASHED, HUNG, Tried, attempt, failures, tell

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(900)]


@pytest.mark.parametrize(
    ("campaign", "count"),
    [(parsers, 3 * len(READERS)), (folders, 4), (datasets, 8), (starts, 4), (disks, 8), (shell, 1)],
)
def test_nothing_gets_in_crashes_hangs_or_is_lost(tmp_path, campaign, count):
    assert not list(failures(campaign(tmp_path, count=count, seed=1)))


def test_an_error_with_words_is_an_answer_and_anything_else_a_crash():
    def refuse():
        raise InvalidInput("It is damaged.", "Mend it.")

    tried = Tried("x")
    attempt(tried, "refused", refuse)
    assert tried.wrong == []
    attempt(tried, "broken", lambda: {}["a"])
    assert tried.wrong == [(CRASHED, "broken: KeyError: 'a'")]


def test_what_takes_too_long_hangs():
    tried = Tried("x")
    attempt(tried, "slow", lambda: time.sleep(1.0), patience_s=0.05)
    assert tried.wrong[0][0] == HUNG


def test_a_verb_that_crashes_on_a_damaged_folder_is_told_with_its_seed_and_input(
    tmp_path, monkeypatch, capsys
):
    def crash(run):
        raise RuntimeError("no words for a person")

    monkeypatch.setattr(of_folders, "damages_of", crash)
    code = tell(folders(tmp_path, count=1, seed=5), campaign="folders", seed=5, minutes=5)
    told = capsys.readouterr().out
    assert code == 1 and "CRASHED --seed 5, damage 0 (" in told and "1 crashed" in told


def test_the_same_seed_makes_the_same_inputs(tmp_path):
    told = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        tries = list(parsers(tmp_path / name, count=10, seed=3))
        told.append([each.read_bytes() for each in sorted((tmp_path / name).rglob("*")) if each.is_file()])
        assert len(tries) == 10
    assert told[0] == told[1]
