"""A grid plan holds every combination once, always with the base model, and addresses each cell."""

import random

import pytest

from kohya_bridge.errors import InvalidInput
from kohya_bridge.trigger import without
from kohya_bridge.validation.cells import (
    DIMENSIONS,
    Checkpoint,
    Prompt,
    column_letters,
    plan_cells,
)

STEP_400 = Checkpoint(400, "checkpoints/alice-step00000400-aaaaaaaa.safetensors", "a" * 64)
STEP_800 = Checkpoint(800, "checkpoints/alice-step00000800-bbbbbbbb.safetensors", "b" * 64)
PORTRAIT = Prompt("char_alice, portrait")


def test_the_smallest_grid_is_two_seeds_with_and_without_the_lora():
    plan = plan_cells(checkpoints=(STEP_400,), prompts=(PORTRAIT,), strengths=(0.8,), seeds=(1, 2))
    assert plan.row_labels == ("seed 1", "seed 2")
    assert plan.column_labels == ("no LoRA", "strength 0.8")
    assert plan.common == ("step 400", "char_alice, portrait")
    assert [cell.render.strength for cell in plan.cells] == [0, 0.8, 0, 0.8]


def test_the_baseline_is_one_column_however_many_checkpoints_are_compared():
    plan = plan_cells(checkpoints=(STEP_400, STEP_800), prompts=(PORTRAIT,), strengths=(0.5, 1.0))
    assert plan.column_labels == (
        "no LoRA",
        "step 400\nstrength 0.5",
        "step 400\nstrength 1",
        "step 800\nstrength 0.5",
        "step 800\nstrength 1",
    )


def test_a_baseline_that_stands_in_several_cells_is_rendered_once():
    plan = plan_cells(
        checkpoints=(STEP_400, STEP_800),
        prompts=(PORTRAIT,),
        strengths=(1.0,),
        rows=("checkpoint",),
        columns=("strength", "prompt", "seed"),
    )
    assert len(plan.cells) == 4
    assert len(plan.renders) == 3


def test_renders_come_in_an_order_that_loads_each_checkpoint_once():
    plan = plan_cells(
        checkpoints=(STEP_800, STEP_400), prompts=(PORTRAIT, Prompt("b")), strengths=(1.0,), seeds=(1, 2)
    )
    steps = [render.checkpoint.step if render.checkpoint else 0 for render in plan.renders]
    assert steps == sorted(steps)


def test_the_trigger_off_row_repeats_the_first_prompt_without_its_trigger():
    plan = plan_cells(
        checkpoints=(STEP_400,), prompts=(PORTRAIT, Prompt("x")), trigger="char_alice", trigger_off=True
    )
    assert plan.row_labels[-1] == "trigger off: portrait"
    assert plan.cells[-1].render.prompt == Prompt("portrait", trigger_off=True)


@pytest.mark.parametrize(
    ("prompt", "bare"),
    [
        ("char_alice, red dress", "red dress"),
        ("a photo of char_alice, smiling", "a photo of, smiling"),
        ("red dress, char_alice", "red dress"),
        ("char_alice2, dress", "char_alice2, dress"),
        ("a, char_alice, b", "a, b"),
        ("CHAR_ALICE", ""),
        ("as  it was ,written", "as  it was ,written"),
    ],
)
def test_taking_the_trigger_out_leaves_no_stray_commas_and_no_other_word_damaged(prompt, bare):
    assert without(prompt, "char_alice") == bare


def test_every_random_grid_holds_every_combination_exactly_where_its_labels_say():
    rng = random.Random(7)
    for _ in range(200):
        names = list(DIMENSIONS)
        rng.shuffle(names)
        split = rng.randint(0, 4)
        checkpoints = tuple(
            Checkpoint(s, f"c{s}", f"{s:064x}") for s in rng.sample(range(1, 50), rng.randint(0, 3))
        )
        strengths = tuple(rng.sample([0.25, 0.5, 0.75, 1.0, 1.25], rng.randint(0, 3)))
        seeds = tuple(rng.sample(range(100), rng.randint(1, 3)))
        prompts = tuple(Prompt(f"prompt {n}") for n in range(rng.randint(1, 3)))
        plan = plan_cells(
            checkpoints=checkpoints,
            prompts=prompts,
            strengths=strengths,
            seeds=seeds,
            rows=tuple(names[:split]),
            columns=tuple(names[split:]),
        )
        assert len(plan.cells) == len(plan.row_labels) * len(plan.column_labels)
        assert len({cell.address for cell in plan.cells}) == len(plan.cells)
        assert len({render.key for render in plan.renders}) == len(plan.renders)
        expected = len(prompts) * len(seeds) * (1 + len(checkpoints) * len(strengths))
        assert len(plan.renders) == expected
        assert any(render.strength == 0 and render.checkpoint is None for render in plan.renders)
        for cell in plan.cells:
            assert plan.at(cell.address.lower()) == cell
            assert (cell.render.checkpoint is None) == (cell.render.strength == 0)


def test_letters_go_on_after_z_as_in_a_spreadsheet():
    assert [column_letters(n) for n in (0, 25, 26, 701, 702)] == ["A", "Z", "AA", "ZZ", "AAA"]


def test_everything_wrong_is_said_at_once():
    with pytest.raises(InvalidInput) as caught:
        plan_cells(
            checkpoints=(),
            prompts=(),
            strengths=(float("nan"), 99),
            seeds=(-1,),
            rows=("seed",),
            columns=("seed",),
        )
    assert len(caught.value.problems) == 5


def test_a_grid_of_thousands_of_cells_is_refused_before_anything_is_rendered():
    with pytest.raises(InvalidInput, match="the most is 400"):
        plan_cells(checkpoints=(STEP_400,), prompts=(PORTRAIT,), seeds=tuple(range(1000)))


def test_an_unknown_address_is_answered_with_the_corners():
    plan = plan_cells(checkpoints=(STEP_400,), prompts=(PORTRAIT,))
    with pytest.raises(InvalidInput, match="A1 to B1"):
        plan.at("Z9")
