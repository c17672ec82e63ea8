"""What the trainer will see: each picture's bucket, crop, turn and transparency, and its caption as far as it is read.

In: a dataset and the numbers of a training. Out: one `TrainerView` for each picture, as a table, and as a picture of the very
pixels; for this pack's engines, and for `sd-scripts`: the folder given to sd-scripts without this pack.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..dataset import Dataset, DatasetItem
from ..engine_names import FIRST_ENGINE, PLAIN
from ..errors import InvalidInput
from ..files import open_named
from ..settings import TrainingSettings
from .buckets import Placement, place
from .caption_tokens import Reading
from .caption_variation import vary_caption
from .clip_tokens import MAX_TEXT
from .dataset_folder import MAX_CAPTION_BYTES
from .pictures import PictureFacts, flattened, opened, upright

COLUMNS = ("picture", "size", "bucket", "scale", "cropped", "turned", "transparency", "tokens", "caption as read", "cut off")  # fmt: skip
_SIDEWAYS = (5, 6, 7, 8)


@dataclass(frozen=True)
class TrainerView:
    """One picture as an engine takes it. `placement` is None where `problem` says why it can't be trained. `read` and
    `lost` are the two parts of one use's caption; `tokens` is None where nobody could count."""

    name: str
    size: tuple[int, int]
    placement: Placement | None
    problem: str = ""
    turned: str = ""
    transparency: str = ""
    read: str = ""
    lost: str = ""
    tokens: int | None = None

    @property
    def scale(self) -> float:
        """Edge after resizing relative to before; above 1 the picture is enlarged."""
        return self.placement.resized[0] / self.placement.original[0] if self.placement else 1.0

    @property
    def cropped(self) -> float:
        """Share of the resized picture that the bucket cuts off."""
        if not self.placement:
            return 0.0
        bucket, resized = self.placement.bucket, self.placement.resized
        return 1 - bucket[0] * bucket[1] / (resized[0] * resized[1])


def view_dataset(
    dataset: Dataset,
    facts: Mapping[str, PictureFacts],
    training: TrainingSettings,
    *,
    engine: str = FIRST_ENGINE,
    reading: Reading | None = None,
    use: int = 0,
) -> tuple[TrainerView, ...]:
    """Every picture as that engine would take it. `facts` are lint's (`lint.examine`); `use` numbers the pick whose
    shuffled caption is shown: engines draw their own order, so it is one example of many."""
    return tuple(
        _view(
            item,
            facts[item.name],
            training,
            engine,
            reading or Reading(),
            np.random.default_rng([training.seed, use, number]),
        )
        for number, item in enumerate(dataset.items)
    )


def trained_pixels(item: DatasetItem, view: TrainerView, *, engine: str = FIRST_ENGINE) -> Image.Image:
    """The picture as it reaches the VAE: resized and cropped, with that engine's treatment of turn and transparency.

    Raises:
        OSError and its kin (`pictures.DECODER_FAILURES`) for a damaged file; InvalidInput for one without a bucket.
    """
    if view.placement is None:
        raise InvalidInput(f"{item.name} is not trained: {view.problem}", "See the lint report.")
    with open_named(item.file) as stream, opened(stream) as stored:
        if engine == PLAIN:  # load_image, library/train_util.py:2948: no EXIF, alpha thrown away
            picture = stored.convert("RGB")
        else:
            picture = flattened(upright(stored), background=(255, 255, 255))
    where = view.placement
    if picture.size != where.resized:
        shrinks = picture.width >= where.resized[0] and picture.height >= where.resized[1]
        picture = picture.resize(where.resized, Image.Resampling.BOX if shrinks else Image.Resampling.LANCZOS)
    left, top = where.crop_left, where.crop_top
    cut: Image.Image = picture.crop((left, top, left + where.bucket[0], top + where.bucket[1]))
    return cut


def view_rows(views: tuple[TrainerView, ...]) -> list[list[str]]:
    """The table below `COLUMNS`, one row a picture."""
    return [
        [
            view.name,
            f"{view.size[0]} x {view.size[1]}",
            f"{view.placement.bucket[0]} x {view.placement.bucket[1]}" if view.placement else view.problem,
            f"{view.scale:.2f}",
            f"{view.cropped:.0%}",
            view.turned,
            view.transparency,
            "" if view.tokens is None else str(view.tokens),
            view.read or "(empty)",
            view.lost,
        ]
        for view in views
    ]


def bucket_summary(views: tuple[TrainerView, ...], training: TrainingSettings) -> list[tuple[str, int, int]]:
    """`(bucket, pictures, batches an epoch)` for every bucket, the fullest first."""
    counts: dict[tuple[int, int], int] = {}
    for view in views:
        if view.placement:
            counts[view.placement.bucket] = counts.get(view.placement.bucket, 0) + 1
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    repeats, batch = training.num_repeats, training.train_batch_size
    return [(f"{w} x {h}", count, -(-count * repeats // batch)) for (w, h), count in ordered]


def _view(
    item: DatasetItem, facts: PictureFacts, training: TrainingSettings, engine: str, reading: Reading,
    rng: np.random.Generator,
) -> TrainerView:  # fmt: skip
    caption = vary_caption(_caption_for(item, engine), training, rng)
    length = (reading.limit or training.max_token_length) if reading.is_cut else MAX_TEXT
    cut = reading.tokens.cut(caption, length=length) if reading.tokens else None
    read, lost, count = (cut.kept, cut.lost, cut.tokens) if cut else (caption, "", None)
    if not facts.readable:
        return TrainerView(item.name, (0, 0), None, "not readable", read=read, lost=lost, tokens=count)
    turns = engine != PLAIN and facts.orientation in _SIDEWAYS
    size = (facts.height, facts.width) if turns else (facts.width, facts.height)
    placement, problem = None, ""
    try:
        placement = place(size, training)
    except InvalidInput as error:
        problem = error.problem
    return TrainerView(
        item.name,
        size,
        placement,
        problem,
        _turned(facts, engine),
        _transparency(facts, engine),
        read,
        lost,
        count,
    )


def _caption_for(item: DatasetItem, engine: str) -> str:
    """The words that reach the trainer. sd-scripts by itself reads the first line of a caption file and no captions.jsonl."""
    if engine != PLAIN:
        return " ".join(item.caption.split())
    if item.row is None:
        return item.caption.split("\n")[0].strip()
    try:
        with open_named(item.file.with_suffix(".txt")) as stream:
            return stream.readline(MAX_CAPTION_BYTES).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def _turned(facts: PictureFacts, engine: str) -> str:
    if facts.orientation == 1:
        return ""
    return "turned upright" if engine != PLAIN else f"left as stored (EXIF {facts.orientation} ignored)"


def _transparency(facts: PictureFacts, engine: str) -> str:
    if not facts.transparent:
        return ""
    return "laid on white" if engine != PLAIN else "dropped: hidden colours show"
