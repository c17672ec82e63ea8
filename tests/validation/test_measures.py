"""The numbers say what their documentation says, on pictures where the answer is known."""

import math

import numpy as np
import pytest
from PIL import Image

from kohya_bridge.validation.cells import Checkpoint, Prompt, plan_cells
from kohya_bridge.validation.likeness import dhash, difference, diversity, psnr_db
from kohya_bridge.validation.measures import MEASURES, measure_grid
from kohya_bridge.validation.strength import recommend_strength

STEP = Checkpoint(400, "c", "a" * 64)
PROMPT = Prompt("char_alice, portrait")


def noise(seed, size=(32, 32)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


def mix(one, other, share):
    return Image.blend(one, other, share)


def test_equal_pictures_differ_by_nothing_and_black_from_white_by_everything():
    black, white = Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8), "white")
    assert difference(black, black) == 0 and math.isinf(psnr_db(black, black))
    assert difference(black, white) == 1 and psnr_db(black, white) == 0


def test_psnr_matches_its_definition():
    one = Image.new("L", (10, 10), 100)
    other = Image.new("L", (10, 10), 110)
    assert psnr_db(one, other) == pytest.approx(10 * math.log10(255**2 / 100), abs=1e-4)


def test_the_difference_hash_ignores_brightness_and_sees_layout():
    ramp = Image.fromarray(np.tile(np.linspace(0, 200, 64, dtype=np.uint8), (64, 1)))
    brighter = ramp.point(lambda value: value + 40)
    assert dhash(ramp) == dhash(brighter)
    assert (dhash(ramp) ^ dhash(ramp.transpose(Image.Transpose.FLIP_LEFT_RIGHT))).bit_count() > 40


def test_diversity_is_zero_for_copies_and_needs_two_pictures():
    assert diversity([noise(1)]) is None
    assert diversity([noise(1), noise(1)]) == 0
    assert diversity([noise(1), noise(2)]) > 0.2


def grid(strengths, render, *, seeds=(1, 2, 3, 4), trigger_off=False):
    plan = plan_cells(
        checkpoints=(STEP,),
        prompts=(PROMPT,),
        strengths=strengths,
        seeds=seeds,
        trigger="char_alice",
        trigger_off=trigger_off,
    )
    return plan, {each.key: render(each) for each in plan.renders}


def test_the_baseline_differs_from_itself_by_exactly_nothing():
    plan, pictures = grid((1.0,), lambda r: mix(noise(r.seed), noise(99), 0.5 * r.strength))
    measures = measure_grid(plan, pictures)
    base = [measures.cells[each.key] for each in plan.renders if each.checkpoint is None]
    assert all(numbers["difference"] == 0 and numbers["psnr_db"] is None for numbers in base)
    assert all(measures.cells[each.key]["difference"] > 0 for each in plan.renders if each.checkpoint)


def test_the_strength_that_comes_closest_to_held_out_pictures_is_recommended():
    target = noise(99)
    closeness = {0: 0.0, 0.5: 0.1, 0.75: 0.35, 1.0: 0.2}
    plan, pictures = grid((0.5, 0.75, 1.0), lambda r: mix(noise(r.seed), target, closeness[r.strength]))
    advice = recommend_strength(measure_grid(plan, pictures, held_out=[target]), STEP)
    assert advice.strength == 0.75 and advice.measured
    assert "closest to the held-out" in advice.reason and "no image encoder" in advice.reason


def test_the_weakest_of_inseparable_strengths_is_taken_and_said_so():
    target = noise(99)
    plan, pictures = grid((0.6, 0.8), lambda r: mix(noise(r.seed), target, 0.5 if r.strength else 0))
    advice = recommend_strength(measure_grid(plan, pictures, held_out=[target]), STEP)
    assert advice.strength == 0.6 and (advice.low, advice.high) == (0.6, 0.8)
    assert "can't be told from it" in advice.reason


def test_a_likeness_that_chance_explains_decides_nothing_and_the_advice_says_so():
    plan, pictures = grid((0.5, 0.8), lambda r: mix(noise(r.seed), noise(200 + r.seed), 0.2 * r.strength))
    advice = recommend_strength(measure_grid(plan, pictures, held_out=[noise(99)]), STEP)
    assert advice.strength == 0.8 and not advice.measured
    assert "no strength can be told from the base model" in advice.reason


def test_a_strength_at_which_all_seeds_look_alike_is_left_out():
    target = noise(99)
    closeness = {0: 0.0, 0.5: 0.3, 1.0: 0.95}
    plan, pictures = grid((0.5, 1.0), lambda r: mix(noise(r.seed), target, closeness[r.strength]))
    measures = measure_grid(plan, pictures, held_out=[target])
    assert [each.collapsed for each in measures.variants if each.strength == 1.0] == [True]
    advice = recommend_strength(measures, STEP)
    assert advice.strength == 0.5 and "Strength 1 was left out" in advice.reason


def test_copying_a_training_picture_shows_against_the_base_model():
    training = [noise(50), noise(51)]
    plan, pictures = grid((1.0,), lambda r: mix(noise(r.seed), training[0], 0.98 * r.strength))
    variant = next(
        each for each in measure_grid(plan, pictures, training=training).variants if each.checkpoint
    )
    assert variant.nearest_training > 0.99 > 0.5 > variant.base_nearest_training


def test_a_lora_that_acts_without_its_trigger_as_much_as_with_it_leaks_fully():
    for share, low, high in ((1.0, 0.7, 1.4), (0.0, 0.0, 0.01)):
        plan, pictures = grid(
            (1.0,),
            lambda r, share=share: mix(
                noise(r.seed), noise(99), 0.5 * r.strength * (share if r.prompt.trigger_off else 1)
            ),
            trigger_off=True,
        )
        variant = next(each for each in measure_grid(plan, pictures).variants if each.checkpoint)
        assert low <= variant.leak <= high


def test_what_could_not_be_measured_is_named_with_what_it_needs():
    plan, pictures = grid((1.0,), lambda r: noise(r.seed), seeds=(1,))
    measures = measure_grid(plan, pictures)
    assert measures.used == ("difference", "psnr_db")
    assert "diversity: needs two or more seeds" in measures.missing
    assert "held_out_similarity: needs held-out pictures" in measures.missing


def test_without_held_out_pictures_the_advice_says_that_it_was_not_measured():
    plan, pictures = grid((0.5, 0.8), lambda r: mix(noise(r.seed), noise(9), 0.2 * r.strength))
    advice = recommend_strength(measure_grid(plan, pictures), STEP)
    assert advice.strength == 0.8 and not advice.measured


def test_the_same_pictures_give_the_same_numbers():
    plan, pictures = grid((0.5, 1.0), lambda r: mix(noise(r.seed), noise(9), 0.3 * r.strength))
    assert measure_grid(plan, pictures, held_out=[noise(9)]) == measure_grid(
        plan, pictures, held_out=[noise(9)]
    )


def test_every_measure_says_what_it_cannot_say():
    assert all(each.says and each.cannot_say and each.unit for each in MEASURES.values())
