"""How a caption differs from use to use in training: dropped, shuffled, thinned out.

In: a caption, the settings, a random stream. Out: the caption of one use. The order of operations is that of sd-scripts
(`process_caption` in library/train_util.py), so that lint can show what either engine will read. Pure.
"""

from __future__ import annotations

import numpy as np

from ..settings import TrainingSettings


def vary_caption(caption: str, settings: TrainingSettings, rng: np.random.Generator) -> str:
    """The caption of one use: dropped as a whole, or its tags behind `keep_tokens` shuffled, then thinned out."""
    if settings.caption_dropout_rate and rng.random() < settings.caption_dropout_rate:
        return ""
    if not (settings.shuffle_caption or settings.caption_tag_dropout_rate):
        return caption
    tags = [tag.strip() for tag in caption.split(",")]
    kept, rest = tags[: settings.keep_tokens], tags[settings.keep_tokens :]
    if settings.shuffle_caption:
        rest = [rest[position] for position in rng.permutation(len(rest))]
    if settings.caption_tag_dropout_rate:
        rest = [tag for tag in rest if rng.random() >= settings.caption_tag_dropout_rate]
    return ", ".join(kept + rest)


def captions_vary(settings: TrainingSettings) -> bool:
    """Whether captions beyond each item's own and the empty one can occur."""
    return bool(settings.shuffle_caption or settings.caption_tag_dropout_rate)
