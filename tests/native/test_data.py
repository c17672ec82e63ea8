"""Items, their order and their captions: pure functions of seed and number."""

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from PIL import Image

from kohya_bridge.datasets.caption_variation import vary_caption
from kohya_bridge.engines.child import EXIT_NO_DATA, ChildFailure
from kohya_bridge.engines.training.batches import BatchMaker, Sources
from kohya_bridge.engines.training.data import Picker, load_pixels, read_items, split_items
from kohya_bridge.engines.training.objective import make_objective
from kohya_bridge.engines.training.randomness import Purpose, stream
from kohya_bridge.settings import TrainingSettings
from tests.native_world import SETTINGS, make_dataset

pytestmark = pytest.mark.torch


def settings(**changes) -> TrainingSettings:
    return TrainingSettings(**{**SETTINGS, **changes})


def rng(number: int = 0):
    return stream(1, Purpose.CAPTION, number)


def dataset_of(tmp_path, **pictures: Image.Image):
    (tmp_path / "images").mkdir()
    for name, picture in pictures.items():
        picture.save(tmp_path / "images" / f"{name}.png")
    return tmp_path


def test_transparent_parts_are_trained_as_white(tmp_path):
    picture = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    picture.paste((0, 0, 255, 255), (0, 0, 32, 64))
    (item,) = read_items(dataset_of(tmp_path, one=picture), settings())
    pixels = load_pixels(item)
    assert pixels[0, 0].tolist() == [0, 0, 255]
    assert pixels[0, 63].tolist() == [255, 255, 255]


def test_a_picture_is_turned_upright_by_its_exif_tag_before_it_gets_a_bucket(tmp_path):
    picture = Image.new("RGB", (96, 48), "black")
    picture.paste("red", (0, 0, 48, 48))
    exif = picture.getexif()
    exif[0x0112] = 6  # the camera was turned: the top is at the left
    (tmp_path / "images").mkdir()
    picture.save(tmp_path / "images" / "turned.jpg", exif=exif, quality=100)
    (item,) = read_items(tmp_path, settings())
    assert item.placement.original == (48, 96)
    pixels = load_pixels(item)
    assert pixels.shape == (*item.placement.bucket[::-1], 3)
    assert pixels[4, 10, 0] > 200 and pixels[-4, 10, 0] < 50


def test_the_epochs_hold_every_picture_as_often_as_it_is_repeated(dots):
    wanted = settings(num_repeats=3)
    items = read_items(dots, wanted)
    picker = Picker(items, wanted)
    for epoch in range(2):
        start = epoch * picker.batches_per_epoch
        names = [
            pick.item.name
            for number in range(start, start + picker.batches_per_epoch)
            for pick in picker.picks(number)
        ]
        assert sorted(names) == sorted(item.name for item in items for _ in range(3))


def test_batches_never_mix_sizes_and_are_at_most_as_large_as_asked(dots):
    items = read_items(dots, settings(train_batch_size=3))
    picker = Picker(items, settings(train_batch_size=3))
    for number in range(2 * picker.batches_per_epoch):
        picks = picker.picks(number)
        assert 1 <= len(picks) <= 3
        assert len({pick.item.placement.bucket for pick in picks}) == 1


def test_a_batch_is_the_same_whatever_was_asked_before_it(dots):
    wanted = settings(flip_aug=True, shuffle_caption=True, cache_text_encoder_outputs=False)
    items = read_items(dots, wanted)
    straight = Picker(items, wanted)
    in_order = [straight.picks(number) for number in range(20)]
    assert Picker(items, wanted).picks(13) == in_order[13]
    assert in_order[0] != in_order[straight.batches_per_epoch]


def test_another_seed_is_another_order(dots):
    items = read_items(dots, settings())
    one = [Picker(items, settings(seed=1)).picks(number) for number in range(6)]
    two = [Picker(items, settings(seed=2)).picks(number) for number in range(6)]
    assert one != two


def test_every_second_pass_over_a_picture_is_mirrored(dots):
    wanted = settings(flip_aug=True, train_batch_size=1)
    items = read_items(dots, wanted)
    picker = Picker(items, wanted)
    flips: dict[str, list[bool]] = {}
    for number in range(4 * picker.batches_per_epoch):
        (pick,) = picker.picks(number)
        flips.setdefault(pick.item.name, []).append(pick.flipped)
    assert all(each in ([True, False] * 2, [False, True] * 2) for each in flips.values())


def test_shuffling_keeps_the_first_tags_and_loses_none():
    wanted = settings(shuffle_caption=True, keep_tokens=2, cache_text_encoder_outputs=False)
    caption = "char_dot, woman, red, green, blue, gold"
    variants = {vary_caption(caption, wanted, rng(number)) for number in range(40)}
    assert len(variants) > 10
    for variant in variants:
        assert variant.startswith("char_dot, woman, ")
        assert sorted(variant.split(", ")) == sorted(caption.split(", "))


def test_tag_dropout_spares_the_kept_tags_and_drops_its_share():
    wanted = settings(caption_tag_dropout_rate=0.25, keep_tokens=1, cache_text_encoder_outputs=False)
    caption = ", ".join(["char_dot", *(f"tag{number}" for number in range(40))])
    kept = [vary_caption(caption, wanted, rng(number)).split(", ") for number in range(200)]
    assert all(tags[0] == "char_dot" for tags in kept)
    assert np.mean([len(tags) - 1 for tags in kept]) == pytest.approx(30, abs=1)


def test_caption_dropout_empties_its_share_of_captions():
    wanted = settings(caption_dropout_rate=0.3)
    empty = sum(vary_caption("char_dot", wanted, rng(number)) == "" for number in range(1000))
    assert 250 < empty < 350


def test_without_variation_a_caption_is_left_as_it_was_written():
    caption = "char_dot,  odd   spacing ,and punctuation."
    assert vary_caption(caption, settings(), rng()) == caption


def test_held_out_pictures_are_not_trained_and_the_probe_is(dots):
    items = read_items(dots, settings())
    split = split_items(items, settings())
    assert len(split.held_out) == len(split.probe) == 2
    assert not set(split.held_out) & set(split.trained)
    assert set(split.probe) <= set(split.trained)


def test_a_damaged_picture_is_named(tmp_path):
    make_dataset(tmp_path / "bad", pictures=2)
    (tmp_path / "bad" / "images" / "0001.png").write_bytes(b"this is no picture")
    with pytest.raises(ChildFailure, match=r"0001\.png") as failure:
        read_items(tmp_path / "bad", settings())
    assert failure.value.exit_code == EXIT_NO_DATA


def test_a_truncated_picture_is_named_when_it_is_decoded(tmp_path):
    make_dataset(tmp_path / "bad", pictures=1)
    file = tmp_path / "bad" / "images" / "0000.png"
    file.write_bytes(file.read_bytes()[:-60])
    (item,) = read_items(tmp_path / "bad", settings())
    with pytest.raises(ChildFailure, match=r"0000\.png"):
        load_pixels(item)


def test_an_empty_dataset_is_told(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(ChildFailure, match="no pictures"):
        read_items(tmp_path, settings())


@hypothesis.settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(every=st.integers(1, 7), per_step=st.integers(1, 6), first=st.integers(0, 200))
def test_the_base_models_answers_are_kept_at_every_nth_step_whole_and_at_no_other(
    dots, every, per_step, first
):
    """All micro-batches of a step, of all processes, do alike; whatever step a run is resumed at."""
    wanted = settings(diff_output_preservation_every_n_steps=every, diff_output_preservation_multiplier=1.0)
    maker = BatchMaker(
        picker=Picker(read_items(dots, wanted), wanted),
        settings=wanted,
        sources=Sources(lambda item, flipped: torch.zeros(4, 1, 1), text=None, tokenize=list),
        objective=make_objective(wanted),
        latent_shape=lambda placement: (4, 1, 1),
        left_out="char_dot",
        per_step=per_step,
    )
    for number in range(first, first + 2 * per_step):
        batch, preserves = maker.make(number), (number // per_step) % every == 0
        assert (batch.preserved_B is not None) == preserves
        assert len(batch.tokens) == len(batch.times_B) * (2 if preserves else 1)
        assert sum("char_dot" in caption for caption in batch.tokens) == len(batch.times_B)
