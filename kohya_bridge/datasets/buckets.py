"""Aspect buckets: which size a picture is trained at, and how it is resized and cropped to get there.

In: a picture's size in pixels and the settings. Out: a `Placement`. The rules are those of sd-scripts (BucketManager in
library/train_util.py, make_bucket_resolutions in library/model_util.py), so that both engines see the same pixels. Pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import InvalidInput
from ..settings import TrainingSettings

Size = tuple[int, int]  # width, height in pixels


@dataclass(frozen=True)
class Placement:
    """How a picture fills its bucket: resize to `resized`, then cut `bucket` out of the middle."""

    original: Size
    resized: Size
    bucket: Size

    @property
    def crop_left(self) -> int:
        return (self.resized[0] - self.bucket[0]) // 2

    @property
    def crop_top(self) -> int:
        return (self.resized[1] - self.bucket[1]) // 2


def predefined_buckets(settings: TrainingSettings) -> list[Size]:
    """Every bucket of at most the resolution's area, sorted; just the square without `enable_bucket`."""
    step, smallest, largest = settings.bucket_reso_steps, settings.min_bucket_reso, settings.max_bucket_reso
    if not settings.enable_bucket:
        return [(settings.resolution, settings.resolution)]
    area = settings.resolution**2
    square = settings.resolution // step * step
    sizes = {(square, square)}
    for width in range(smallest, largest + 1, step):
        height = min(largest, area // width // step * step)
        if height >= smallest:
            sizes |= {(width, height), (height, width)}
    return sorted(sizes)


def place(original: Size, settings: TrainingSettings) -> Placement:
    """The bucket of a picture of that size.

    Raises:
        InvalidInput: nothing of the picture would be left: it is smaller or thinner than one bucket step.
    """
    if settings.enable_bucket and settings.bucket_no_upscale:
        placement = _without_enlarging(original, settings)
    else:
        placement = _nearest_predefined(original, predefined_buckets(settings))
    if min(placement.bucket) < 1:
        raise InvalidInput(
            f"A picture of {original[0]} x {original[1]} px is too small or too thin for buckets in steps of "
            f"{settings.bucket_reso_steps} px.",
            "Leave it out, crop it, or use a smaller bucket_reso_steps or bucket_no_upscale: false.",
        )
    return placement


def _nearest_predefined(original: Size, sizes: list[Size]) -> Placement:
    width, height = original
    aspect = width / height
    bucket = original if original in sizes else min(sizes, key=lambda size: abs(size[0] / size[1] - aspect))
    wider = aspect > bucket[0] / bucket[1]
    scale = bucket[1] / height if wider else bucket[0] / width
    return Placement(original, (int(width * scale + 0.5), int(height * scale + 0.5)), bucket)


def _without_enlarging(original: Size, settings: TrainingSettings) -> Placement:
    step, area = settings.bucket_reso_steps, settings.resolution**2
    resized = original
    if original[0] * original[1] > area:
        resized = _shrunk_to_area(original[0] / original[1], area, step)
    return Placement(original, resized, (resized[0] // step * step, resized[1] // step * step))


def _shrunk_to_area(aspect: float, area: int, step: int) -> Size:
    """The size near `area` with one side on the grid: that side whose rounding bends the aspect ratio less."""

    def on_grid(edge: float) -> int:
        return int(edge + 0.5) // step * step

    by_width = on_grid(math.sqrt(area * aspect))
    by_height = on_grid(area / math.sqrt(area * aspect))
    bend_by_width = _bend(by_width, on_grid(by_width / aspect), aspect)
    bend_by_height = _bend(on_grid(by_height * aspect), by_height, aspect)
    if bend_by_width < bend_by_height:
        return by_width, int(by_width / aspect + 0.5)
    return int(by_height * aspect + 0.5), by_height


def _bend(width: int, height: int, aspect: float) -> float:
    return abs(width / height - aspect) if height else math.inf
