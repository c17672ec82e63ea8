"""Rules about metadata, rating, licence and release (E5xx). One function each; `catalogue.py` lists them."""

from __future__ import annotations

from collections.abc import Iterator

from ..dataset_metadata import METADATA_NAME
from .finding import Examined, Hit
from .words import words_above


def no_metadata(seen: Examined) -> Iterator[Hit]:
    """Nobody wrote down whose pictures these are."""
    for subject, _ in seen.problems("metadata_missing"):
        yield Hit(subject, f"There is no {METADATA_NAME}.")


def bad_metadata(seen: Examined) -> Iterator[Hit]:
    """A metadata.yaml that can't be used."""
    for subject, why in seen.problems("metadata_invalid"):
        yield Hit(subject, why)


def above_rating(seen: Examined) -> Iterator[Hit]:
    """Words that the dataset's rating does not allow."""
    rating = seen.dataset.metadata.rating
    for item in seen.captioned():
        words = words_above(item.caption, rating)
        if words:
            yield Hit(item.name, f"The caption says {', '.join(words)}; the dataset is rated {rating}.")


def no_licence(seen: Examined) -> Iterator[Hit]:
    """Pictures without terms."""
    if seen.items and not seen.dataset.metadata.licence.strip():
        yield Hit(METADATA_NAME, "No licence of the pictures is named.")


def no_source(seen: Examined) -> Iterator[Hit]:
    """Pictures from nowhere."""
    if seen.items and not seen.dataset.metadata.source.strip():
        yield Hit(METADATA_NAME, "The source of the pictures is not named.")


def not_approved(seen: Examined) -> Iterator[Hit]:
    """Not released yet."""
    if seen.items and not seen.dataset.metadata.release_approved:
        yield Hit(METADATA_NAME, "The release of LoRAs trained on this dataset is not approved.")
