"""JPEG blocks are seen where a picture was compressed strongly, and in no art that was never compressed, on the grid or off it."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from kohya_bridge.datasets.jpeg_blocks import visible_blocks
from kohya_bridge.lint import LintSettings

SIDE = 256
LIMIT = LintSettings().max_blocks
seeds = st.integers(0, 2**32 - 1)


def panels(draw, dice, grid, lowest=0, highest=256):
    for _ in range(dice.integers(3, 30)):
        x, y, width, height = (int(grid * each) for each in dice.integers(1, SIDE // grid, 4))
        colour = tuple(map(int, dice.integers(lowest, highest, 3)))
        draw.rectangle((x, y, x + width - 1, y + height - 1), fill=colour)


def circles(draw, dice):
    for _ in range(dice.integers(3, 20)):
        x, y, radius = map(int, dice.integers(4, SIDE // 2, 3))
        draw.ellipse(
            (x - radius, y - radius, x + radius, y + radius), fill=tuple(map(int, dice.integers(0, 256, 3)))
        )


def lossless(kind, seed):
    """Art as programs draw it, much of it with its edges on the 8 px grid."""
    dice = np.random.default_rng(seed)
    picture = Image.new("RGB", (SIDE, SIDE), tuple(map(int, dice.integers(0, 256, 3))))
    draw = ImageDraw.Draw(picture)
    match kind:
        case "panels":
            panels(draw, dice, int(dice.choice((4, 8, 16))))
        case "pale panels":
            panels(draw, dice, 8, 120, 140)
        case "pixel art":
            edge = int(dice.choice((16, 32, 64, 128)))
            small = dice.integers(0, dice.choice((2, 16, 256)), (edge, edge, 3), dtype=np.uint8)
            picture = Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.NEAREST)
        case "drawing":
            circles(draw, dice)
        case "panels and drawing":
            panels(draw, dice, 8)
            circles(draw, dice)
            for _ in range(6):
                draw.text(tuple(map(int, dice.integers(0, SIDE, 2))), "Hello, world", fill=(0, 0, 0))
        case "lines":
            step = int(dice.choice((8, 16, 32)))
            for at in range(0, SIDE, step):
                draw.line((at, 0, at, SIDE), fill=(0, 0, 0))
                draw.line((0, at, SIDE, at), fill=(90, 0, 0))
        case "panels on a slope":
            slope = np.linspace(dice.integers(0, 60), dice.integers(100, 256), SIDE).astype(np.uint8)
            picture = Image.fromarray(np.repeat(np.repeat(slope[None, :, None], SIDE, 0), 3, 2))
            panels(ImageDraw.Draw(picture), dice, 8)
    return picture


def photograph(seed):
    """Soft shapes of several sizes with a little grain."""
    dice = np.random.default_rng(seed)
    sum_of = np.zeros((SIDE, SIDE))
    for edge, share in ((3, 0.5), (8, 0.25), (32, 0.15), (128, 0.1)):
        noise = Image.fromarray(dice.uniform(0, 255, (edge, edge)).astype(np.uint8))
        sum_of += share * np.asarray(noise.resize((SIDE, SIDE), Image.Resampling.BICUBIC), float)
    return Image.fromarray((sum_of + dice.normal(0, 2, sum_of.shape)).clip(0, 255).astype(np.uint8))


def compressed(picture, quality):
    kept = io.BytesIO()
    picture.convert("RGB").save(kept, "JPEG", quality=quality)
    return Image.open(kept)


def seen(picture):
    return visible_blocks(np.asarray(picture.convert("L")))


KINDS = ("panels", "pale panels", "pixel art", "drawing", "panels and drawing", "lines")


@given(kind=st.sampled_from(KINDS), seed=seeds)
@settings(max_examples=150, deadline=None)
def test_art_that_was_never_compressed_has_none(kind, seed):
    assert seen(lossless(kind, seed)) <= LIMIT


@given(seed=seeds, quality=st.integers(5, 20))
@settings(max_examples=60, deadline=None)
def test_a_picture_of_strong_compression_has_them(seed, quality):
    assert seen(compressed(photograph(seed), quality)) > LIMIT


def test_most_compressed_drawings_have_them_and_none_before():
    drawn = [lossless("drawing", seed).filter(ImageFilter.GaussianBlur(1)) for seed in range(40)]
    assert not any(seen(each) > LIMIT for each in drawn)
    assert sum(seen(compressed(each, 10)) > LIMIT for each in drawn) >= 30


def test_hardly_any_panels_on_a_slope_are_taken_for_them():
    """The worst case: small steps of the slope everywhere, and edges that lie on the grid."""
    assert sum(seen(lossless("panels on a slope", seed)) > LIMIT for seed in range(60)) <= 1


@given(seed=seeds, quality=st.integers(90, 100))
@settings(max_examples=60, deadline=None)
def test_a_picture_of_good_quality_has_none(seed, quality):
    assert seen(compressed(photograph(seed), quality)) <= LIMIT


@pytest.mark.parametrize("size", [(1, 1), (8, 300), (31, 31), (32, 33), (40, 257)])
def test_a_picture_of_any_size_has_an_answer(size):
    assert seen(Image.new("L", size, 7)) == 1.0
