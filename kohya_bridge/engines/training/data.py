"""The training items of a dataset, and which of them a step sees.

In: a dataset folder and the settings. Out: `Item`s with their place in a bucket, split into trained and held-out ones;
and for any micro-batch number its `Pick`s. Everything is a pure function of seed and number (`randomness.py`), so there
is no loader state to save. It reads pictures, but knows nothing of models.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from ...dataset import read_dataset
from ...datasets.buckets import Placement, Size, place
from ...datasets.caption_variation import vary_caption
from ...datasets.held_out_split import held_out_names, probe_names
from ...datasets.pictures import DECODER_FAILURES, EXIF_ORIENTATION, MAX_BYTES, as_trained, opened
from ...errors import InvalidInput
from ...files import read_named
from ...reasons import reason_of
from ...settings import TrainingSettings
from ..child import EXIT_NO_DATA, ChildFailure
from .randomness import Purpose, stream


@dataclass(frozen=True)
class Item:
    """One picture with its caption."""

    name: str
    file: Path
    caption: str
    sha256: str
    """Of the file's bytes."""
    placement: Placement


@dataclass(frozen=True)
class Pick:
    """One use of an item: which, mirrored or not, and the caption of this use."""

    item: Item
    flipped: bool
    caption: str


@dataclass(frozen=True)
class Split:
    """Who is trained, who is only measured, and which trained ones are measured too."""

    trained: tuple[Item, ...]
    held_out: tuple[Item, ...]
    probe: tuple[Item, ...]


def read_items(dataset_dir: Path, settings: TrainingSettings) -> tuple[Item, ...]:
    """Every picture of the dataset in name order.

    Raises:
        ChildFailure: there is none, or one can't be read or placed; the sentence names the file.
    """
    dataset = read_dataset(dataset_dir)
    if not dataset.items:
        raise ChildFailure(
            f"The dataset {dataset_dir.name} has no pictures.",
            "Put pictures into its images folder and captions into captions.jsonl.",
            exit_code=EXIT_NO_DATA,
            code="no_data",
        )
    items = []
    for row in sorted(dataset.items, key=lambda row: row.file.name):
        data = _bytes(row.file)
        try:
            placement = place(_size(data, row.file), settings)
        except InvalidInput as error:
            raise _unusable(f"{row.file.name}: {error.problem}", error.fix) from None
        items.append(Item(row.file.name, row.file, row.caption, hashlib.sha256(data).hexdigest(), placement))
    return tuple(items)


def load_pixels(item: Item) -> np.ndarray:
    """The picture as it is trained: upright by its EXIF tag, transparency on white, resized, cropped; (H, W, 3) uint8.

    Resizing averages areas when shrinking and is Lanczos when enlarging, as in sd-scripts.

    Raises:
        ChildFailure: the file is damaged.
    """
    try:
        picture = as_trained(item.file)
    except DECODER_FAILURES as error:
        raise _unusable(
            f"{item.name} can't be read: {reason_of(error)}.", "Replace the picture or leave it out."
        ) from error
    where = item.placement
    if picture.size != where.resized:
        shrinks = picture.width >= where.resized[0] and picture.height >= where.resized[1]
        picture = picture.resize(where.resized, Image.Resampling.BOX if shrinks else Image.Resampling.LANCZOS)
    left, top = where.crop_left, where.crop_top
    return np.asarray(picture.crop((left, top, left + where.bucket[0], top + where.bucket[1])))


def split_items(items: tuple[Item, ...], settings: TrainingSettings) -> Split:
    """Hold out `validation_split` of the items, and name as many trained ones to measure beside them."""
    names, seed = [item.name for item in items], settings.validation_seed
    held_out = held_out_names(names, share=settings.validation_split, seed=seed)
    probe = probe_names(names, held_out, seed=seed)
    return Split(
        trained=tuple(item for item in items if item.name not in held_out),
        held_out=tuple(item for item in items if item.name in held_out),
        probe=tuple(item for item in items if item.name in probe),
    )


@dataclass
class Picker:
    """Answers what a micro-batch holds. Batches never mix buckets; a bucket's last batch of an epoch may be smaller."""

    items: tuple[Item, ...]
    settings: TrainingSettings
    _epoch: int = field(default=-1, init=False)
    _batches: list[list[tuple[int, int]]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        by_size: dict[Size, list[int]] = {}
        for number, item in enumerate(self.items):
            by_size.setdefault(item.placement.bucket, []).append(number)
        self.buckets = [by_size[size] for size in sorted(by_size)]
        repeats, batch_size = self.settings.num_repeats, self.settings.train_batch_size
        self.batches_per_epoch = sum(-(-len(bucket) * repeats // batch_size) for bucket in self.buckets)

    def epoch_of(self, micro_batch: int) -> int:
        """The epoch of a micro-batch, counted from 0."""
        return micro_batch // self.batches_per_epoch

    def picks(self, micro_batch: int) -> list[Pick]:
        """The content of a micro-batch, counted from 0 over the whole run."""
        epoch, place_in_epoch = divmod(micro_batch, self.batches_per_epoch)
        if epoch != self._epoch:
            self._batches, self._epoch = self._shuffled(epoch), epoch
        return [
            self._pick(number, repeat, micro_batch, index)
            for index, (number, repeat) in enumerate(self._batches[place_in_epoch])
        ]

    def _shuffled(self, epoch: int) -> list[list[tuple[int, int]]]:
        seed, size, repeats = self.settings.seed, self.settings.train_batch_size, self.settings.num_repeats
        batches = []
        for index, bucket in enumerate(self.buckets):
            uses = [(number, epoch * repeats + repeat) for number in bucket for repeat in range(repeats)]
            order = stream(seed, Purpose.ORDER_IN_BUCKET, epoch, index).permutation(len(uses))
            shuffled = [uses[position] for position in order]
            batches += [shuffled[start : start + size] for start in range(0, len(shuffled), size)]
        order = stream(seed, Purpose.ORDER_OF_BATCHES, epoch).permutation(len(batches))
        return [batches[position] for position in order]

    def _pick(self, number: int, passed: int, micro_batch: int, index: int) -> Pick:
        item, seed = self.items[number], self.settings.seed
        flipped = self.settings.flip_aug and (passed + _first_flip(seed, number)) % 2 == 1
        caption = vary_caption(item.caption, self.settings, stream(seed, Purpose.CAPTION, micro_batch, index))
        return Pick(item, flipped, caption)


def _first_flip(seed: int, number: int) -> int:
    return int(stream(seed, Purpose.FLIP, 0, number).integers(2))


def _bytes(file: Path) -> bytes:
    try:
        return read_named(file, most=MAX_BYTES)
    except OSError as error:
        raise _unusable(f"{file.name} can't be read: {reason_of(error)}.", "Correct or remove it.") from error


def _size(data: bytes, file: Path) -> Size:
    """Width and height as a viewer shows them: EXIF orientations 5 to 8 lie on their side."""
    try:
        with opened(io.BytesIO(data)) as picture:
            lying = _may_be_turned(data) and picture.getexif().get(EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
            return (picture.height, picture.width) if lying else picture.size
    except DECODER_FAILURES as error:
        raise _unusable(
            f"{file.name} is not a readable picture: {reason_of(error)}.", "Replace it or leave it out."
        ) from error


def _may_be_turned(data: bytes) -> bool:
    """Whether asking for EXIF can have an answer. Of a PNG without these words it would decode the whole picture."""
    hints = (b"eXIf", b"Raw profile type", b"com.adobe.xmp")
    return not data.startswith(b"\x89PNG") or any(hint in data for hint in hints)


def _unusable(problem: str, fix: str) -> ChildFailure:
    return ChildFailure(problem, fix, exit_code=EXIT_NO_DATA, code="unreadable_picture")
