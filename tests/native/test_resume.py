"""Resuming is exact: a run that was killed three times ends with the bytes of one that never was."""

import random
import signal

import pytest

from kohya_bridge.engines.child import EXIT_COMPLETED
from kohya_bridge.engines.training.optimisers import OPTIMISERS
from tests.native_world import events, finish, start, start_cold, wait_for_step

pytestmark = pytest.mark.torch

LONG = {
    "max_train_steps": 30,
    "save_every_n_steps": 5,
    "validate_every_n_steps": 10,
    "lr_scheduler": "cosine",
}


def kill_three_times(world, run, *, seed: int) -> None:
    """SIGKILL the run's child at random steps, going on from its newest state each time, then let it end."""
    dice = random.Random(seed)
    for third in range(3):
        child = start(run)
        wait_for_step(run, 10 * third + dice.randint(2, 9), child)
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        world.go_on(run)
    assert finish(run) == EXIT_COMPLETED, run.log_tail()


def assert_same_result(straight, killed) -> None:
    one, two = straight.checkpoint("latest"), killed.checkpoint("latest")
    assert (straight.dir / one["file"]).read_bytes() == (killed.dir / two["file"]).read_bytes()
    assert one["file"] == two["file"]
    assert straight.state().losses == killed.state().losses
    measured = [[(row["step"], row["loss"]) for row in run.state().validations] for run in (straight, killed)]
    assert measured[0] == measured[1]
    assert len(events(killed, "run_started")) == 4


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_a_run_killed_three_times_ends_with_the_same_bytes(world, optimiser):
    rate = 1.0 if optimiser == "Prodigy" else 1e-3
    schedule = {"lr_scheduler": "constant"} if optimiser == "AdamWScheduleFree" else {}
    plan = world.plan(optimizer_type=optimiser, **{**LONG, "unet_lr": rate, **schedule})
    straight, killed = world.run(plan, name="straight"), world.run(plan, name="killed")
    assert finish(straight) == EXIT_COMPLETED
    kill_three_times(world, killed, seed=len(optimiser))
    assert_same_result(straight, killed)


@pytest.mark.parametrize(
    "settings",
    [
        {
            "network_dropout": 0.3,
            "flip_aug": True,
            "caption_dropout_rate": 0.3,
            "gradient_accumulation_steps": 2,
        },
        {
            "network_train_unet_only": False,
            "cache_text_encoder_outputs": False,
            "shuffle_caption": True,
            "caption_tag_dropout_rate": 0.2,
            "mixed_precision": "bf16",
        },
    ],
    ids=["dropout and flips", "text encoder and changing captions in bf16"],
)
def test_all_that_a_step_draws_is_drawn_again_after_a_kill(world, settings):
    plan = world.plan(**LONG, **settings)
    straight, killed = world.run(plan, name="straight"), world.run(plan, name="killed")
    assert finish(straight) == EXIT_COMPLETED
    kill_three_times(world, killed, seed=3)
    assert_same_result(straight, killed)


def test_a_run_stopped_at_an_odd_step_and_resumed_by_its_command_ends_with_the_same_bytes(world):
    plan = world.plan(**LONG)
    straight, stopped = world.run(plan, name="straight"), world.run(plan, name="stopped")
    assert finish(straight) == EXIT_COMPLETED
    child = start(stopped)
    wait_for_step(stopped, 7, child)
    stopped.ask("stop")
    child.join(30)
    assert child.exitcode == EXIT_COMPLETED
    world.go_on(stopped)
    assert start_cold(stopped).wait(120) == EXIT_COMPLETED
    assert straight.checkpoint("latest")["sha256"] == stopped.checkpoint("latest")["sha256"]
    assert events(stopped, "run_started")[1]["resumed_from"] == stopped.state().resumed_from >= 7


def test_a_state_that_died_before_it_was_measured_is_measured_on_resume(world):
    run = world.run(world.plan(max_train_steps=8))
    assert finish(run) == EXIT_COMPLETED
    lines = run.events_file.read_bytes().splitlines(keepends=True)
    cut = next(n for n, line in enumerate(lines) if b'"kind":"validation","step":4' in line)
    run.events_file.write_bytes(b"".join(lines[:cut]))  # as a kill between state and measurement leaves it
    for step in (8,):
        for file in (run.states_dir / f"step{step:08d}").iterdir():
            file.unlink()
        (run.states_dir / f"step{step:08d}").rmdir()
    world.go_on(run)
    assert finish(run) == EXIT_COMPLETED
    assert [row["step"] for row in run.state().validations] == [0, 4, 8]


def test_the_state_of_another_run_is_refused(world):
    one, two = world.run(world.plan(), name="one"), world.run(world.plan(seed=7), name="two")
    assert finish(one) == EXIT_COMPLETED
    one.states_dir.rename(two.states_dir)
    world.go_on(two)
    assert finish(two) != EXIT_COMPLETED
    assert "is of run" in two.state().problem


def test_a_damaged_state_is_told_with_what_to_do(world):
    run = world.run(world.plan(**LONG))
    child = start(run)
    wait_for_step(run, 7, child)
    run.ask("stop")
    child.join(30)
    assert child.exitcode == EXIT_COMPLETED
    file = run.latest_state()[1] / "optimiser.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    world.go_on(run)
    assert finish(run) != EXIT_COMPLETED
    assert "is damaged" in run.state().problem
    assert "Delete that folder" in run.state().fix
