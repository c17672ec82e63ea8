"""The split into trained and held-out pictures: the same for every engine, stable when the dataset grows."""

import pytest

from kohya_bridge.datasets.held_out_split import held_out_names, probe_names

NAMES = [f"{number:04d}.png" for number in range(20)]


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.01, 1), (0.1, 2), (0.5, 10), (0.99, 19)])
def test_the_share_is_rounded_with_at_least_one_and_never_all(share, count):
    assert len(held_out_names(NAMES, share=share, seed=1)) == count


def test_a_single_picture_is_never_held_out():
    assert held_out_names(["a.png"], share=0.5, seed=1) == frozenset()


def test_order_of_the_names_does_not_matter_and_another_seed_holds_out_others():
    assert held_out_names(NAMES, share=0.2, seed=1) == held_out_names(NAMES[::-1], share=0.2, seed=1)
    assert held_out_names(NAMES, share=0.2, seed=1) != held_out_names(NAMES, share=0.2, seed=2)


def test_adding_a_picture_moves_at_most_one_other():
    before = held_out_names(NAMES, share=0.2, seed=1)
    after = held_out_names([*NAMES, "0020.png"], share=0.2, seed=1)
    assert len(before - after) <= 1


def test_the_probe_has_as_many_pictures_as_are_held_out_and_none_of_them():
    held_out = held_out_names(NAMES, share=0.2, seed=1)
    probe = probe_names(NAMES, held_out, seed=1)
    assert len(probe) == len(held_out)
    assert not held_out & set(probe)
