"""A request becomes a run that completes, and the same request is never trained twice."""

from __future__ import annotations

import json

from tests.desk.conftest import request


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


def test_every_finished_attempt_leaves_one_line_in_the_experiment_log(desk, workspace):
    run = desk.submit(request())
    desk.wait(run.run_id, poll_s=0.05)
    (line,) = workspace.experiments_file.read_text().splitlines()
    facts = json.loads(line)
    assert facts["run_id"] == run.run_id
    assert facts["outcome"] == "completed"
    assert facts["settings"]["max_train_steps"] == 12
