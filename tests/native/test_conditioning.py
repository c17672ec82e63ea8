"""Captions of different lengths in one batch: each is what it is alone, in its own row."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kohya_bridge.engines.training.conditioning import Conditioning, answers

pytestmark = pytest.mark.torch

LENGTHS = st.lists(st.integers(1, 4), min_size=1, max_size=6)


class CaptionLength:
    """A model whose answer is the picture, plus its time, plus the caption's mean, plus its size's first number."""

    dtype = torch.float32

    def __init__(self):
        self.passes = 0

    def predict(self, noisy_BCHW, times_B, condition, sizes_B6):
        self.passes += 1
        each_B = condition["hidden"].mean(dim=(1, 2)) + times_B + sizes_B6[:, 0]
        return noisy_BCHW + each_B.view(-1, 1, 1, 1)


def caption(row: int, length: int) -> dict[str, torch.Tensor]:
    return {
        "hidden": torch.full((length, 2), float(row) + length / 10),
        "pooled": torch.full((3,), float(row)),
    }


def inputs(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    noisy = torch.arange(float(count)).view(-1, 1, 1, 1).expand(count, 4, 2, 3)
    return noisy, torch.arange(float(count)) * 100, torch.arange(6.0 * count).view(count, 6)


@given(LENGTHS)
@settings(deadline=None)
def test_every_caption_is_answered_as_if_it_were_alone_with_one_pass_for_each_length(lengths):
    captions = [caption(row, length) for row, length in enumerate(lengths)]
    noisy, times, sizes = inputs(len(lengths))
    model = CaptionLength()
    together = answers(model, noisy, times, Conditioning.of(captions), sizes)
    assert model.passes == len(set(lengths))
    for row in range(len(lengths)):
        one = slice(row, row + 1)
        alone = answers(model, noisy[one], times[one], Conditioning.of(captions[one]), sizes[one])
        assert together[one].equal(alone)


@given(LENGTHS, st.data())
@settings(deadline=None)
def test_the_last_captions_are_those_of_a_conditioning_made_of_them_alone(lengths, data):
    captions = [caption(row, length) for row, length in enumerate(lengths)]
    count = data.draw(st.integers(1, len(lengths)))
    noisy, times, sizes = inputs(count)
    last = answers(CaptionLength(), noisy, times, Conditioning.of(captions).last(count), sizes)
    alone = answers(CaptionLength(), noisy, times, Conditioning.of(captions[-count:]), sizes)
    assert last.equal(alone)


@given(LENGTHS, LENGTHS)
@settings(deadline=None)
def test_side_by_side_is_the_same_as_made_at_once(first, second):
    captions = [caption(row, length) for row, length in enumerate([*first, *second])]
    beside = Conditioning.of(captions[: len(first)]).beside(Conditioning.of(captions[len(first) :]))
    whole = Conditioning.of(captions)
    assert [group.rows for group in beside.groups] == [group.rows for group in whole.groups]
    for one, other in zip(beside.groups, whole.groups, strict=True):
        assert all(one.condition[name].equal(other.condition[name]) for name in other.condition)


def test_one_caption_is_repeated_without_a_copy():
    conditioning = Conditioning.of([caption(1, 3)]).repeated(4)
    assert len(conditioning) == 4
    (group,) = conditioning.groups
    assert group.condition["hidden"].shape == (4, 3, 2) and group.condition["hidden"].stride(0) == 0
