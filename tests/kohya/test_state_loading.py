"""A resume state is loaded exactly or not at all, by the real accelerate, and runs no code."""

from __future__ import annotations

import os
import random
from dataclasses import replace

import numpy
import pytest

from kohya_bridge.engines.child import ChildFailure
from kohya_bridge.engines.kohya.ledger import Ledger, capture_random_states, write_ledger
from kohya_bridge.engines.kohya.state_loading import ledger_of, load_state
from scripts.chaos.crash_points import measure
from scripts.chaos.durable import Fault
from scripts.chaos.outcome import outcome_of
from scripts.chaos.subjects import SUBJECTS
from tests.kohya.hostile_states import PICKLES, as_before, plant_pickle

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")


class Training:
    """A model, an optimiser and a scheduler of the real accelerate, as many steps in as asked."""

    def __init__(self, steps: int):
        from accelerate import Accelerator

        self.accelerator = Accelerator(cpu=True)
        model = torch.nn.Linear(4, 4)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
        self.model, self.optimizer, self.scheduler = self.accelerator.prepare(model, optimizer, scheduler)
        for _ in range(steps):
            self.step()

    def step(self) -> float:
        loss = (self.model(torch.randn(2, 4)) * numpy.random.rand() * random.random()).sum()
        self.accelerator.backward(loss)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        return loss.item()

    def save(self, folder) -> None:
        self.accelerator.save_state(str(folder))
        write_ledger(folder, Ledger(3, 0, 3, 9, capture_random_states(), capture_random_states()))

    def load(self, folder) -> None:
        load_state(folder, ledger_of(folder), lambda: self.accelerator.load_state(str(folder)))


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """A state folder after three steps, and the losses of the three after it."""
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
    folder, training = tmp_path / "step00000003", Training(steps=3)
    training.save(folder)
    return folder, [training.step() for _ in range(3)]


def resumed_losses(folder) -> list[float]:
    training = Training(steps=1)
    training.load(folder)
    return [training.step() for _ in range(3)]


def refusal(folder) -> ChildFailure:
    with pytest.raises(ChildFailure) as refused:
        Training(steps=1).load(folder)
    assert refused.value.code == "damaged_state" and folder.name in refused.value.problem
    return refused.value


def test_a_state_trains_on_as_if_nothing_had_happened(saved):
    folder, losses = saved
    assert resumed_losses(folder) == losses


def test_a_state_of_before_trains_on_from_accelerates_own_random_states(saved):
    folder, losses = saved
    as_before(folder)
    assert resumed_losses(folder) == losses


def test_what_accelerate_cannot_read_of_random_states_the_ledger_knows(saved):
    folder, losses = saved
    (folder / "random_states_0.pkl").write_bytes(b"nothing")
    assert resumed_losses(folder) == losses


@pytest.mark.parametrize("lost", ["gone", "empty", "hostile", "half"])
def test_a_state_of_before_whose_random_states_are_lost_is_refused(saved, tmp_path, lost):
    folder, _ = saved
    as_before(folder)
    file = folder / "random_states_0.pkl"
    if lost == "hostile":
        plant_pickle(folder, file.name, tmp_path / "ran")
    else:
        content = file.read_bytes()
        file.unlink()
        if lost != "gone":
            file.write_bytes(content[: len(content) // 2] if lost == "half" else b"")
    assert "random states" in refusal(folder).problem
    assert not (tmp_path / "ran").exists()


def test_states_of_one_generator_that_are_lost_are_named(saved):
    folder, _ = saved
    as_before(folder)
    states = {"random_state": random.getstate(), "torch_manual_seed": torch.get_rng_state()}
    torch.save(states, folder / "random_states_0.pkl")
    assert "numpy" in refusal(folder).problem


@pytest.mark.parametrize("archived", [True, False])
@pytest.mark.parametrize("name", PICKLES)
def test_no_pickle_of_a_state_runs_code(saved, tmp_path, name, archived):
    folder, losses = saved
    plant_pickle(folder, name, tmp_path / "ran", archived=archived)
    if name == "random_states_0.pkl":
        assert resumed_losses(folder) == losses
    else:
        assert "more than numbers" in refusal(folder).problem
    assert not (tmp_path / "ran").exists()


def test_the_planted_pickle_would_run_where_torch_is_allowed_to(saved, tmp_path, monkeypatch):
    folder, _ = saved
    plant_pickle(folder, "optimizer.bin", tmp_path / "ran")
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    torch.load(folder / "optimizer.bin", weights_only=False)
    assert (tmp_path / "ran").is_dir()


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.bin", "scheduler.bin"])
@pytest.mark.parametrize("how", ["gone", "empty", "half", "pipe", "link"])
def test_a_damaged_file_of_a_state_is_refused_by_name_of_its_folder(saved, tmp_path, name, how):
    folder, _ = saved
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    if how == "pipe":
        os.mkfifo(folder / name)
    elif how == "link":
        (tmp_path / "elsewhere").write_bytes(content)
        (folder / name).symlink_to(tmp_path / "elsewhere")
    elif how != "gone":
        (folder / name).write_bytes(content[: len(content) // 2] if how == "half" else b"")
    refusal(folder)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "null", '{"version": 1}', "[" * 100_000, '{"version": 1, "order": null, "step": "3"}'],
)
def test_a_ledger_that_nobody_wrote_so_is_refused(saved, text):
    folder, _ = saved
    (folder / "ledger.json").write_text(text, "utf-8")
    with pytest.raises(ChildFailure, match="damaged"):
        ledger_of(folder)


def test_random_states_that_are_none_are_refused(saved):
    folder, _ = saved
    good = ledger_of(folder)
    for wrong in (
        {"python": [3, [], None]},
        {"numpy": [1]},
        {"torch": "bm8="},
        {"numpy": ["MT19937", [1], 2, 0, 0.0]},
    ):
        write_ledger(folder, replace(good, now=replace(good.now, **wrong)))
        refusal(folder)


@pytest.fixture
def cut(tmp_path, double):
    """The double's training, an untouched run of it, and one that was killed right after its first state."""
    subject = SUBJECTS["kohya"](tmp_path)
    straight = measure(subject)
    begun = next(
        n for n, each in enumerate(straight.operations, 1) if each.startswith("os.rename states/step")
    )
    run = subject.run("cut")
    subject.attempt(run, Fault(str(run.dir), str(tmp_path / "operations"), at=begun + 1))
    return subject, straight, run


def test_a_run_goes_on_to_the_same_bytes_beside_a_hostile_pickle(cut, tmp_path):
    subject, straight, run = cut
    plant_pickle(run.states_dir / "step00000002", "random_states_0.pkl", tmp_path / "ran")
    subject.attempt(run, None)
    assert outcome_of(run, weights_only=True) == straight.outcome
    assert not (tmp_path / "ran").exists()


def test_a_run_whose_random_states_are_lost_fails_and_says_what_to_do(cut, tmp_path):
    subject, _, run = cut
    state = run.states_dir / "step00000002"
    as_before(state)
    plant_pickle(state, "random_states_0.pkl", tmp_path / "ran")
    subject.attempt(run, None)
    ended = run.state()
    assert (ended.status, ended.step) == ("failed", 2) and "random states" in ended.problem
    assert not (tmp_path / "ran").exists()
