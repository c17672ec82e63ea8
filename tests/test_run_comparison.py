"""Runs beside each other: every difference by name, and a verdict that knows chance from effect."""

import json

import numpy as np
import pytest

from kohya_bridge.events import EventLog
from kohya_bridge.plan import BaseModelFacts, DatasetFacts, TrainingRequest, make_plan
from kohya_bridge.run_folder import RunFolder
from kohya_bridge.runs.run_comparison import compare_runs
from kohya_bridge.runs.run_table import COLUMNS, experiment_table
from kohya_bridge.workspace import Workspace


def make_run(workspace, *, losses, digest="d" * 64, **settings):
    plan = make_plan(
        TrainingRequest(dataset="alice", base_model="b", settings={"mixed_precision": "bf16", **settings}),
        dataset=DatasetFacts(slug="alice", digest=digest, images=30, trigger="char_alice"),
        base_model=BaseModelFacts(name="base", sha256="b" * 64, family="sd15"),
        engine="native",
        engine_version="1",
    )
    run = RunFolder(workspace.run_dir("alice", plan.run_id))
    run.dir.mkdir(parents=True)
    run.plan_file.write_text(plan.to_yaml())
    run.environment_file.write_text(
        json.dumps({"packages": {"torch": f"2.{len(settings)}"}, "interpreter": "x"})
    )
    ticks = iter(range(1_700_000_000, 1_800_000_000, 30))
    log = EventLog(run.events_file, clock=lambda: next(ticks))
    log.write("run_started", attempt=1, engine="native", pid=1, total=800, resumed_from=0)
    log.write(
        "validation",
        step=800,
        loss=float(np.mean(losses)),
        psnr=20.0,
        items=10,
        cells=[float(each) for each in losses],
    )
    log.write("run_finished", outcome="completed", step=800)
    log.close()
    return run


@pytest.fixture
def workspace(tmp_path):
    return Workspace.at(tmp_path)


PICTURES = np.random.default_rng(0).uniform(0.05, 0.4, 40)
"""Losses of forty measurements: they differ by picture far more than runs do."""


def test_runs_that_differ_by_chance_only_are_not_separable(workspace):
    noise = np.random.default_rng(1).normal(0, 0.002, (2, 40))
    old = make_run(workspace, losses=PICTURES + noise[0], seed=1)
    new = make_run(workspace, losses=PICTURES + noise[1], seed=2)
    result = compare_runs(old, new)
    assert result.separable is False and result.verdict.startswith("Not separable")
    assert [(each.field, each.old, each.new) for each in result.differences if each.part == "plan"] == [
        ("settings.seed", 1, 2)
    ]


def test_a_run_that_is_a_little_worse_on_every_picture_is_told_apart_although_the_means_lie_close(workspace):
    noise = np.random.default_rng(1).normal(0, 0.002, (2, 40))
    good = make_run(workspace, losses=PICTURES + noise[0], seed=1)
    worse = make_run(workspace, losses=PICTURES + 0.01 + noise[1], seed=2)
    result = compare_runs(worse, good)
    assert result.separable is True
    assert result.verdict.startswith(f"Run {good.run_id} is better")


def test_losses_on_different_data_are_not_compared_and_the_reason_is_said(workspace):
    old, new = make_run(workspace, losses=PICTURES), make_run(workspace, losses=PICTURES, digest="e" * 64)
    result = compare_runs(old, new)
    assert result.separable is None and "datasets differ" in result.verdict


def test_versions_and_results_that_differ_are_named(workspace):
    old, new = make_run(workspace, losses=PICTURES), make_run(workspace, losses=PICTURES - 0.01, seed=3)
    named = {(each.part, each.field) for each in compare_runs(old, new).differences}
    assert ("environment", "packages.torch") in named and ("result", "held_out_loss") in named
    assert not any(field == "interpreter" for _, field in named)


def test_the_experiment_log_is_a_table_and_a_line_damaged_by_hand_is_counted(workspace):
    run = make_run(workspace, losses=PICTURES)
    line = {
        "time": 1_700_000_000, "run_id": run.run_id, "character": "alice", "outcome": "completed", "steps": [0, 800],
        "duration_s": 90, "base_model": {"name": "base"}, "engine": "native",
        "settings": {"network_dim": 16, "unet_lr": 1e-4}, "loss_ema": 0.1, "validation_loss": 0.2, "best_step": 800,
    }  # fmt: skip
    resumed = {**line, "steps": [400, 800], "character": "bob"}
    workspace.experiments_file.write_text(f"{json.dumps(line)}\n{{torn\n{json.dumps(resumed)}\n")
    table = experiment_table(workspace)
    assert table.unreadable == 1 and len(table.rows) == 2
    row = dict(zip(COLUMNS, table.rows[0], strict=True))
    assert (row["steps"], row["minutes"], row["held-out"], row["rank"]) == ("800", "1.5", "0.2000", "16")
    assert table.rows[1][COLUMNS.index("steps")] == "400-800"
    assert [each[2] for each in experiment_table(workspace, character="bob").rows] == ["bob"]


def test_a_workspace_without_a_log_has_an_empty_table(workspace):
    assert experiment_table(workspace).rows == ()
