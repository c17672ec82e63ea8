"""Real trainings from seeds are judged as they should be: overfitting is stopped, progress is not, chance is not an effect.

Minutes of training, so only `make test-full` runs this; `docs/measurements.md` has the figures.
"""

import random

import pytest

from kohya_bridge.datasets.held_out_split import held_out_names
from kohya_bridge.engines.child import EXIT_COMPLETED
from kohya_bridge.runs.run_comparison import compare_runs
from tests.native.taught_base import WORDS, make_characters, make_taught_base
from tests.native_world import World, finish

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A folder for everything."""
    return tmp_path_factory.mktemp("judging")


@pytest.fixture(scope="module")
def plain_base(room):
    return make_taught_base(room / "plain_base", knows_colours=False)


@pytest.fixture(scope="module")
def colour_base(room):
    return make_taught_base(room / "colour_base", knows_colours=True)


def train(room, base, dataset, name, **settings):
    """A finished run, with its measurements printed."""
    world = World(room, base, dataset, room / f"cache of {base.name}")
    usual = {
        "train_batch_size": 3,
        "save_every_n_steps": 25,
        "validate_every_n_steps": 25,
        "early_stop_patience": 4,
        "validation_split": 0.25,
    }
    run = world.run(world.plan(**{**usual, **settings}), name=name)
    assert finish(run, timeout_s=280) == EXIT_COMPLETED, run.log_tail()
    state = run.state()
    rows = ", ".join(
        f"{row['step']}: {row['loss']:.4f} ({row['train_loss']:.4f})" for row in state.validations
    )
    print(f"\n{name}: ended at step {state.step} of {state.total}; held-out (trained) loss {rows}")
    print(f"{name}: best step {state.best['step']}. {state.best['reason']}")
    return run


def losses(run):
    return {row["step"]: row["loss"] for row in run.state().validations}


def early_stops(run):
    return [row for row in run.state().notices if row["code"] == "early_stop"]


def test_a_run_that_overfits_is_stopped_and_an_earlier_checkpoint_is_chosen(room, plain_base):
    """Three pictures, rank 64: held-out loss falls a little, then rises while that of the trained ones falls on."""
    few = make_characters(room / "few", ["red"] * 6, ["pattern"] * 6, seed=3)
    run = train(
        room,
        plain_base,
        few,
        "overfits",
        max_train_steps=600,
        network_dim=64,
        network_alpha=64.0,
        unet_lr=2e-3,
        validation_split=0.5,
    )
    state, measured = run.state(), losses(run)
    assert state.step < 600
    (notice,) = early_stops(run)
    assert "early_stop_patience is 4" in notice["problem"]
    assert measured[state.best["step"]] < measured[state.step]
    assert next(row for row in state.checkpoints if row["final"])["step"] == state.step
    assert (run.dir / "best.safetensors").resolve().name == state.best["file"].rpartition("/")[2]


def test_a_healthy_run_is_not_stopped_early(room, plain_base):
    many = make_characters(room / "many", ["red"] * 48, ["pattern"] * 48, seed=3)
    run = train(
        room, plain_base, many, "healthy", max_train_steps=400, network_dim=8, network_alpha=8.0, unet_lr=1e-3
    )
    measured = losses(run)
    assert run.state().step == 400
    assert early_stops(run) == []
    assert measured[run.state().best["step"]] < measured[0]


def test_another_seed_is_not_separable_and_shuffled_captions_are(room, colour_base):
    """96 held-out pictures: a caption tells little that a noisy picture does not show, so a few would not do."""
    colours = [list(WORDS)[number % 3] for number in range(192)]
    captions = [WORDS[colour] for colour in colours]
    names = [f"{number:04d}.png" for number in range(192)]
    apart = held_out_names(names, share=0.5, seed=1234)
    trained = [number for number, name in enumerate(names) if name not in apart]
    shuffled = list(captions)
    for number, other in zip(trained, random.Random(5).sample(trained, len(trained)), strict=True):
        shuffled[number] = captions[other]
    right = make_characters(room / "right", colours, captions, seed=4)
    broken = make_characters(room / "broken", colours, shuffled, seed=4)
    settings = {
        "max_train_steps": 300,
        "network_dim": 16,
        "network_alpha": 16.0,
        "unet_lr": 1e-3,
        "validation_split": 0.5,
        "lr_scheduler": "cosine",
        "save_every_n_steps": 100,
        "validate_every_n_steps": 100,
        "early_stop_patience": 0,
    }
    one = train(room, colour_base, right, "seed 42", seed=42, **settings)
    two = train(room, colour_base, right, "seed 43", seed=43, **settings)
    wrong = train(room, colour_base, broken, "shuffled captions", seed=42, **settings)
    same, other = compare_runs(one, two), compare_runs(one, wrong)
    print(f"another seed: {same.verdict}\nshuffled captions: {other.verdict}")
    assert same.separable is False
    assert other.separable is True
    assert f"Run {one.run_id} is better" in other.verdict
