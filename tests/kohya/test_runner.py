"""The runner in a real child process: events, stopping, resuming, requests and every way of failing."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from kohya_bridge.engines.failures import explain_death
from kohya_bridge.engines.kohya.engine import KohyaEngine
from kohya_bridge.models.lora_facts import check_lora, read_lora_facts
from tests.kohya_bench import at_step, wait_for, weights

pytestmark = pytest.mark.torch

NOTHING_HALF_WRITTEN = (".partial-*", "*.tmp", ".*.tmp")


def final_of(ended):
    return ended.run.dir / ended.run.checkpoint("latest")["file"]


def leftovers(run) -> list:
    return [each for pattern in NOTHING_HALF_WRITTEN for each in run.dir.rglob(pattern)]


def test_a_whole_run_tells_every_step_checkpoint_state_and_measurement(bench):
    bench.warm = False  # by its command line
    ended = bench.train(bench.plan())
    assert ended.code == 0, ended.run.log_tail()
    assert [row["step"] for row in ended.of("progress")] == list(range(1, 13))
    assert [(row["step"], row["final"]) for row in ended.of("checkpoint")] == [
        (5, False),
        (10, False),
        (12, True),
    ]
    assert [row["step"] for row in ended.of("state")] == [5, 10]
    assert [row["step"] for row in ended.of("validation")] == [5, 10, 12]
    assert ended.finished["outcome"] == "completed"
    assert len(ended.of("run_finished")) == 1
    phases = [row["name"] for row in ended.of("phase")]
    assert phases[0] == "loading" and {"caching", "training", "saving", "validating"} <= set(phases)
    assert json.loads(ended.run.losses_file.read_text())["losses"][-1][0] == 12
    environment = json.loads(ended.run.environment_file.read_text())
    assert environment["sd_scripts_commit"] == ended.run.plan().engine_version
    trained_on = KohyaEngine().device(bench.paths.cache_dir)
    assert environment["device"] == trained_on.kind
    assert environment["devices"] == ([trained_on.name] if trained_on.is_gpu else [])


def test_progress_is_told_before_the_save_of_the_same_step_so_that_a_kill_between_loses_no_step(bench):
    ended = bench.train(bench.plan(max_train_steps=5, save_every_n_steps=2))
    order = [
        (row["kind"], row["step"])
        for row in ended.events
        if row["kind"] in ("progress", "checkpoint", "state")
    ]
    assert order.index(("progress", 2)) < order.index(("checkpoint", 2)) < order.index(("state", 2))


def test_the_lora_file_names_its_true_step_and_is_sound(bench):
    ended = bench.train(bench.plan(max_train_steps=4))
    file = ended.run.dir / ended.of("checkpoint")[-1]["file"]
    assert check_lora(file, step=4) == ()
    facts = read_lora_facts(file)
    assert facts.metadata["ss_max_train_steps"] == "4"
    assert (
        facts.metadata["ss_new_sd_model_hash"] == "b" * 64
    )  # the plan's own digest: the base is not read again
    assert file.name.startswith("dots-step00000004-")
    if os.name != "nt":  # what sd-scripts' own libraries wrote, too
        made = [*ended.run.checkpoints_dir.iterdir(), *(ended.run.states_dir).rglob("*")]
        usual = ended.run.plan_file.stat().st_mode
        assert [each for each in made if each.is_file() and each.stat().st_mode != usual] == []


def test_a_held_out_measure_has_an_interval_and_the_same_measure_on_trained_pictures(bench):
    row = bench.train(bench.plan(max_train_steps=5)).of("validation")[0]
    assert row["items"] == 2 and len(row["cells"]) == 2 * 4
    assert row["loss_low"] <= row["loss"] <= row["loss_high"]
    assert math.isclose(row["loss"], sum(row["cells"]) / 8, rel_tol=1e-5)
    assert row["train_loss"] and row["psnr"]


@pytest.mark.parametrize(
    "numbers",
    [
        {"gradient_accumulation_steps": 2, "num_repeats": 2, "shuffle_caption": True},
        {
            "cache_latents": False,
            "lr_scheduler": "linear",
            "lr_warmup_steps": 3,
            "validate_every_n_steps": 3,
        },  # loader workers
    ],
)
def test_three_interruptions_and_a_kill_train_bit_for_bit_what_one_straight_run_trains(bench, numbers):
    plan = bench.plan(max_train_steps=20, save_every_n_steps=3, save_last_n_states=3, **numbers)
    straight = bench.train(plan, name="straight")
    assert straight.code == 0, straight.run.log_tail()

    resume, cut = None, None
    for stop_at, how in ((4, "stop"), (8, "kill"), (12, "stop"), (None, "")):

        def interrupt(run, child, stop_at=stop_at, how=how):
            if stop_at is None:
                return
            at_step(stop_at)(run, child)
            run.ask("stop") if how == "stop" else child.kill()

        cut = bench.train(plan, name="cut", resume=resume, act=interrupt, FAKE_SD_SCRIPTS="slow 0.02")
        assert stop_at is None or len(cut.losses()) < 20, "it was interrupted too late"
        state = cut.run.latest_state()
        resume = state[1] if state else None

    assert cut.finished["outcome"] == "completed", cut.run.log_tail()
    assert cut.losses() == straight.losses()
    assert sorted(cut.losses()) == list(range(1, 21))
    last = [each.run.dir / each.run.checkpoint("latest")["file"] for each in (straight, cut)]
    assert weights(last[0]) == weights(last[1])
    steps = [row["step"] for row in cut.run.state().checkpoints]
    assert steps == sorted(set(steps)) and steps[-1] == 20
    there = {each.name for each in cut.run.checkpoints_dir.glob("*.safetensors")}
    assert there == {Path(row["file"]).name for row in cut.run.state().checkpoints}


def test_a_run_resumed_at_the_edge_of_an_epoch_goes_on_with_the_next_one(bench):
    plan = bench.plan(
        max_train_steps=15, save_every_n_steps=6, save_last_n_states=9
    )  # 6 trained pictures: whole epochs
    straight = bench.train(plan, name="straight")
    cut = bench.train(plan, name="cut", act=lambda run, child: (at_step(8)(run, child), child.kill()))
    cut = bench.train(plan, name="cut", resume=cut.run.states_dir / "step00000006")
    assert cut.losses() == straight.losses()


def test_a_soft_stop_saves_lora_and_state_of_its_step_and_exits_0(bench):
    plan = bench.plan(max_train_steps=400, save_every_n_steps=0)
    ended = bench.train(plan, act=lambda run, child: (at_step(3)(run, child), run.ask("stop")))
    assert (ended.code, ended.finished["outcome"]) == (0, "stopped")
    step = ended.finished["step"]
    assert 3 <= step < 400
    assert ended.of("checkpoint")[-1]["step"] == ended.of("state")[-1]["step"] == step
    assert ended.run.latest_state()[0] == step
    assert not ended.run.asked("stop")
    assert {"action": "stop", "stage": "acknowledged"}.items() <= ended.of("control")[0].items()


def test_states_are_pruned_by_their_true_step(bench):
    ended = bench.train(bench.plan(save_every_n_steps=2, save_last_n_states=2))
    assert sorted(each.name for each in ended.run.states_dir.iterdir()) == ["step00000008", "step00000010"]


def test_one_sigterm_is_a_soft_stop(bench):
    plan = bench.plan(max_train_steps=400)
    ended = bench.train(
        plan, act=lambda run, child: (at_step(2)(run, child), child.send_signal(signal.SIGTERM))
    )
    assert (ended.code, ended.finished["outcome"]) == (0, "stopped")
    assert ended.run.latest_state()[0] == ended.finished["step"]


def test_a_second_signal_ends_the_run_at_once_and_leaves_nothing_half_written(bench):
    def twice(run, child):
        at_step(2)(run, child)
        child.send_signal(signal.SIGINT)
        child.send_signal(signal.SIGTERM)

    ended = bench.train(bench.plan(max_train_steps=400), act=twice, FAKE_SD_SCRIPTS="slow 0.5")
    assert ended.code == 130
    assert (ended.finished["outcome"], ended.finished["code"]) == ("stopped", "aborted")
    assert leftovers(ended.run) == []


def test_a_stop_before_the_first_step_ends_the_attempt_without_training(bench):
    run = bench.run_folder(bench.plan())
    run.ask("stop")
    ended = bench.train(bench.plan())
    assert (ended.code, ended.finished["outcome"]) == (0, "stopped")
    assert ended.of("progress") == []


def test_a_paused_run_waits_and_goes_on_with_the_same_numbers(bench):
    plan = bench.plan(max_train_steps=15)

    def pause(run, child):
        at_step(4)(run, child)
        run.ask("pause")
        wait_for(lambda: run.state().status == "paused", child)
        run.withdraw("pause")

    paused = bench.train(plan, name="paused", act=pause, FAKE_SD_SCRIPTS="slow 0.05")
    assert [(row["action"], row["stage"]) for row in paused.of("control")] == [
        ("pause", "acknowledged"),
        ("resume", "acknowledged"),
    ]
    assert paused.losses() == bench.train(plan, name="straight").losses()


def test_a_lent_gpu_comes_back_and_training_goes_on_with_the_same_bytes(bench):
    plan = bench.plan(max_train_steps=15)

    def lend(run, child):
        at_step(4)(run, child)
        run.ask("lend", name="a prompt")
        wait_for(lambda: run.state().status == "lent", child)
        step = run.state().step
        time.sleep(0.3)
        assert run.state().step == step
        run.withdraw("lend")

    lent = bench.train(plan, name="lent", act=lend, FAKE_SD_SCRIPTS="slow 0.05")
    straight = bench.train(plan, name="straight")
    assert [(row["action"], row.get("reason")) for row in lent.of("control")] == [
        ("lend", None),
        ("take_back", "withdrawn"),
    ]
    assert lent.losses() == straight.losses()
    assert weights(final_of(lent)) == weights(final_of(straight))


def test_a_checkpoint_and_a_sample_are_made_on_request_and_the_requests_are_closed(bench):
    def ask(run, child):
        at_step(2)(run, child)
        run.ask("checkpoint")
        run.ask("sample")
        wait_for(lambda: run.state().samples and not run.asked("checkpoint"), child)

    plan = bench.plan(max_train_steps=30, save_every_n_steps=0, validation_split=0.0)
    ended = bench.train(plan, act=ask, FAKE_SD_SCRIPTS="slow 0.05")
    assert ended.code == 0, ended.run.log_tail()
    on_request = ended.of("checkpoint")[0]
    assert 2 <= on_request["step"] < 30 and not on_request["final"]
    assert ended.of("state")[0]["step"] == on_request["step"]
    samples = ended.of("sample")
    assert len(samples) == 2 and samples[0]["prompt"].startswith("char_dots") and samples[0]["seed"] == 42
    assert all((ended.run.dir / row["file"]).is_file() for row in samples)
    assert {(row["action"], row["stage"]) for row in ended.of("control")} == {
        (action, stage) for action in ("checkpoint", "sample") for stage in ("acknowledged", "done")
    }


def test_sampling_at_intervals_happens_after_the_save_and_its_failure_costs_the_pictures_only(bench):
    plan = bench.plan(max_train_steps=4, save_every_n_steps=2, kohya={"sample_every_n_steps": 2})
    ended = bench.train(plan, FAKE_SD_SCRIPTS="sampling fails")
    assert ended.finished["outcome"] == "completed"
    assert {row["code"] for row in ended.of("notice")} == {"sampling_failed"}
    kinds = [row["kind"] for row in ended.events]
    assert kinds.index("checkpoint") < kinds.index("notice")


def test_no_better_measurement_ends_the_run_early_as_completed_with_a_final_lora(bench):
    ended = bench.train(bench.plan(max_train_steps=200, early_stop_patience=1, early_stop_min_delta=100.0))
    assert (ended.code, ended.finished["outcome"], ended.finished["step"]) == (0, "completed", 10)
    assert ended.of("notice")[-1]["code"] == "early_stop"
    assert [(row["step"], row["final"]) for row in ended.run.state().checkpoints] == [(5, False), (10, True)]


def test_an_early_end_at_a_step_without_a_save_saves_at_the_next_one(bench):
    numbers = {"save_every_n_steps": 0, "validate_every_n_steps": 2, "early_stop_patience": 1}
    ended = bench.train(bench.plan(max_train_steps=200, early_stop_min_delta=100.0, **numbers))
    assert (ended.finished["outcome"], ended.finished["step"]) == ("completed", 5)
    assert [(row["step"], row["final"]) for row in ended.run.state().checkpoints] == [(5, True)]


def test_a_run_without_pictures_fails_although_sd_scripts_exits_0(bench):
    shutil.rmtree(bench.dataset_dir / "images")
    (bench.dataset_dir / "images").mkdir()
    ended = bench.train(bench.plan())
    assert (ended.code, ended.finished["code"]) == (4, "no_data")
    assert "No data found. Please verify arguments" in ended.run.log_tail()


def test_a_loss_that_is_no_number_ends_the_run_before_a_broken_lora_is_written(bench):
    ended = bench.train(bench.plan(optimizer_args={"weight_decay": 1e30}, unet_lr=1.0, lr_warmup_steps=0))
    assert (ended.code, ended.finished["code"]) == (5, "not_finite")
    assert all(check_lora(ended.run.dir / row["file"]) == () for row in ended.of("checkpoint"))


def test_running_out_of_gpu_memory_is_told_with_its_fix_and_keeps_the_last_state(bench):
    ended = bench.train(bench.plan(save_every_n_steps=3), FAKE_SD_SCRIPTS="oom 5")
    assert (ended.code, ended.finished["code"], ended.finished["step"]) == (3, "out_of_memory", 4)
    assert "1.50 GiB" in ended.finished["evidence"]
    assert ended.run.latest_state()[0] == 3


def test_a_full_disk_is_told_as_such(bench):
    ended = bench.train(bench.plan(), FAKE_SD_SCRIPTS="full 4")
    assert (ended.code, ended.finished["code"]) == (6, "disk_full")


@pytest.mark.parametrize(("how", "code"), [("abort 4", "crashed"), ("vanish 4", "killed")])
def test_a_process_that_dies_leaves_no_end_event_and_is_diagnosed_from_outside(bench, how, code):
    ended = bench.train(bench.plan(save_every_n_steps=2), FAKE_SD_SCRIPTS=how)
    assert ended.of("run_finished") == []
    assert explain_death(ended.code, ended.run.log_tail()).code == code
    assert ended.run.state().step == 3
    assert ended.run.latest_state()[0] == 2


def test_an_unknown_option_in_the_rendered_file_is_refused_because_upstream_would_ignore_it(bench):
    ended = bench.train(bench.plan(kohya={"netwrok_dim": 8}))
    assert (ended.code, ended.finished["code"]) == (1, "bad_option")
    assert "netwrok_dim" in ended.finished["problem"]


def test_a_missing_base_model_is_told(bench):
    plan = bench.plan()
    bench.base_model.unlink()
    assert bench.train(plan).finished["code"] == "base_model_missing"


def test_a_damaged_picture_that_slipped_through_is_told_by_name(bench):
    plan = bench.plan()
    run, child = bench.start(plan)
    child.kill()
    child.wait()
    picture = next((run.staging_dir / "train").glob("*.png"))
    picture.unlink()
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + b"nothing")
    from kohya_bridge.engines.kohya import staging

    kept, staging._fill = staging._fill, lambda files, folder, pictures: None
    try:
        ended = bench.train(plan)
    finally:
        staging._fill = kept
    assert ended.finished["code"] == "picture_damaged"


def test_of_two_processes_one_speaks_and_both_stop_together_with_lora_and_state(bench, monkeypatch):
    plan = bench.plan(max_train_steps=400, save_every_n_steps=0, validation_split=0.0)

    def in_two(argv):
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
        return [argv[0], *launch, *argv[1:]]

    bench.argv = in_two
    ended = bench.train(plan, act=lambda run, child: (at_step(3)(run, child), run.ask("stop")))
    assert (ended.code, ended.finished["outcome"]) == (0, "stopped"), ended.run.log_tail()
    assert len(ended.of("run_started")) == len(ended.of("run_finished")) == 1
    steps = [row["step"] for row in ended.of("progress")]
    assert steps == list(range(1, steps[-1] + 1))
    assert ended.run.latest_state()[0] == steps[-1] == ended.of("checkpoint")[-1]["step"]
    assert [row["seq"] for row in ended.events] == list(range(1, len(ended.events) + 1))
