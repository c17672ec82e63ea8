"""A request becomes a run that completes, and the same request is never trained twice."""

from __future__ import annotations

import json

import pytest

from kohya_bridge.datasets.dataset_metadata import Waiver, read_metadata, write_metadata
from tests.desk.conftest import environment_of, request
from tests.doubles.quick_engine import QuickEngine

pytestmark = pytest.mark.started_for_real


def test_a_submitted_request_trains_to_its_end(desk):
    run = desk.submit(request())
    state = desk.wait(run.run_id, poll_s=0.05)
    assert (state.status, state.step, state.total) == ("completed", 12, 12)
    assert [row["step"] for row in state.checkpoints] == [4, 8, 12]
    assert run.checkpoint("best")["step"] == state.best["step"]


def test_the_same_request_again_returns_the_finished_run_and_starts_nothing(desk):
    run = desk.submit(request())
    desk.wait(run.run_id, poll_s=0.05)
    lines = run.events_file.read_text().count("\n")
    assert desk.submit(request()) == run
    assert run.events_file.read_text().count("\n") == lines
    assert run.state().attempt == 1


def test_a_damaged_record_of_versions_that_a_person_waived_hinders_no_training(desk, workspace):
    lock = workspace.dataset_dir(request().dataset) / "dataset.lock.json"
    lock.write_text("{")
    metadata = lock.with_name("metadata.yaml")
    waiver = Waiver(rule="E601", reason="nobody kept an older one")
    write_metadata(metadata, read_metadata(metadata).model_copy(update={"waivers": (waiver,)}))
    run = desk.submit(request())
    assert desk.wait(run.run_id, poll_s=0.05).status == "completed"
    assert lock.read_text() == "{"


def test_every_finished_attempt_leaves_one_line_in_the_experiment_log(desk, workspace):
    run = desk.submit(request())
    desk.wait(run.run_id, poll_s=0.05)
    (line,) = workspace.experiments_file.read_text().splitlines()
    facts = json.loads(line)
    assert facts["run_id"] == run.run_id
    assert facts["outcome"] == "completed"
    assert facts["settings"]["max_train_steps"] == 12


def test_what_a_person_has_set_for_openmp_reaches_the_trainer(desk_with, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    slow = desk_with(QuickEngine(seconds_per_step=0.05))
    run = slow.submit(request(settings={"max_train_steps": 400}))
    assert environment_of(run)["OMP_WAIT_POLICY"] == "ACTIVE"
