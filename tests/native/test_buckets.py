"""Buckets: the same sizes as sd-scripts gives (recorded from its BucketManager), and sensible ones at the edges."""

import json
from pathlib import Path

import pytest

from kohya_bridge.datasets.buckets import place, predefined_buckets
from kohya_bridge.errors import InvalidInput
from kohya_bridge.settings import TrainingSettings

pytestmark = pytest.mark.torch

RECORDED = json.loads((Path(__file__).parent.parent / "fixtures" / "native" / "buckets.json").read_text())
NAMES = ("resolution", "min_bucket_reso", "max_bucket_reso", "bucket_reso_steps", "bucket_no_upscale")


def settings(case) -> TrainingSettings:
    return TrainingSettings(**{name: case[name] for name in NAMES})


@pytest.mark.parametrize(
    "case", RECORDED, ids=lambda case: f"{case['resolution']}-{case['bucket_no_upscale']}"
)
def test_every_size_gets_the_bucket_that_sd_scripts_gives_it(case):
    for original, resized, bucket in case["rows"]:
        if min(bucket) < 1:
            continue  # sd-scripts crashes on these later
        placement = place(tuple(original), settings(case))
        assert [list(placement.resized), list(placement.bucket)] == [resized, bucket], original


@pytest.mark.parametrize(
    "case", [case for case in RECORDED if "buckets" in case], ids=lambda case: case["resolution"]
)
def test_the_predefined_buckets_are_those_of_sd_scripts(case):
    assert [list(size) for size in predefined_buckets(settings(case))] == case["buckets"]


def test_a_portrait_is_shrunk_to_the_area_and_cut_in_the_middle():
    # 512 * 512 / (1536 / 1024): 418 x 627; rounding the height to 576 bends the ratio least: 384 x 576
    placement = place((1024, 1536), TrainingSettings(resolution=512))
    assert placement.resized == (384, 576)
    assert (placement.bucket, placement.crop_left, placement.crop_top) == ((384, 576), 0, 0)


def test_a_small_picture_is_not_enlarged_but_cropped_to_the_grid():
    placement = place((300, 200), TrainingSettings(resolution=512))
    assert placement.resized == (300, 200)
    assert (placement.bucket, placement.crop_left, placement.crop_top) == ((256, 192), 22, 4)


def test_without_buckets_every_picture_fills_the_square():
    placement = place((1000, 500), TrainingSettings(resolution=512, enable_bucket=False))
    assert placement.resized == (1024, 512)
    assert (placement.bucket, placement.crop_left) == ((512, 512), 256)


@pytest.mark.parametrize("size", [(40, 500), (5000, 20), (63, 63)])
def test_a_picture_of_which_nothing_would_be_left_is_refused(size):
    with pytest.raises(InvalidInput, match="too small or too thin"):
        place(size, TrainingSettings(resolution=512))
