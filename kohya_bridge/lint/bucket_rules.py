"""Rules about what the trainer makes of a picture's size (24x). One function each; `catalogue.py` lists them.

They speak only where the numbers of a training are known: then each picture has a bucket.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from ..counted import counted
from ..datasets.buckets import Placement, place
from ..errors import InvalidInput
from .finding import Examined, Hit
from .picture_rules import is_too_small


def no_bucket(seen: Examined) -> Iterator[Hit]:
    """A picture that fits no bucket."""
    for name, placement in _placed(seen):
        if isinstance(placement, str):
            yield Hit(name, placement)


def upscaled(seen: Examined) -> Iterator[Hit]:
    """A picture that is enlarged to fill its bucket."""
    for name, placement in _placed(seen):
        if is_too_small(seen.facts[name], seen.training):
            continue  # told as an error already
        if not isinstance(placement, str) and placement.resized[0] > placement.original[0]:
            factor = placement.resized[0] / placement.original[0]
            yield Hit(name, f"It is enlarged {factor:.2f} times to fill the bucket {_said(placement)}.")


def cropped(seen: Examined) -> Iterator[Hit]:
    """A picture that loses much to its bucket."""
    for name, placement in _placed(seen):
        if isinstance(placement, str):
            continue
        lost = 1 - placement.bucket[0] * placement.bucket[1] / (placement.resized[0] * placement.resized[1])
        if lost > seen.settings.max_crop_share:
            yield Hit(name, f"{lost:.0%} of it is cropped away to fill the bucket {_said(placement)}.")


def lonely_bucket(seen: Examined) -> Iterator[Hit]:
    """A bucket with fewer pictures than a batch."""
    members = defaultdict(list)
    for name, placement in _placed(seen):
        if not isinstance(placement, str):
            members[placement.bucket].append(name)
    batch, repeats = seen.training.train_batch_size, seen.training.num_repeats
    for bucket, names in sorted(members.items()):
        if len(members) > 1 and len(names) * repeats < batch:
            yield Hit(names[0], f"The bucket {bucket[0]} x {bucket[1]} holds {len(names)} of {counted(len(seen.items), 'picture')}, fewer than a batch of {batch}.")  # fmt: skip


def _placed(seen: Examined) -> Iterator[tuple[str, Placement | str]]:
    if not seen.training_known:
        return
    for item, facts in seen.readable():
        lying = facts.orientation in (5, 6, 7, 8)
        size = (facts.height, facts.width) if lying else (facts.width, facts.height)
        try:
            yield item.name, place(size, seen.training)
        except InvalidInput as error:
            yield item.name, error.problem


def _said(placement: Placement) -> str:
    return f"{placement.bucket[0]} x {placement.bucket[1]}"
