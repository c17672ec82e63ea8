"""Rules about metadata, rating, licence and release (E5xx). One function each; `catalogue.py` lists them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..counted import counted
from ..datasets.dataset_metadata import METADATA_NAME
from ..datasets.licences import find_licence, nearest_identifier
from .finding import Examined, Hit
from .words import words_above


def no_metadata(seen: Examined) -> Iterator[Hit]:
    """Nobody wrote down whose pictures these are."""
    for subject, _ in seen.problems("metadata_missing"):
        yield Hit(subject, f"There is no {METADATA_NAME}.")


def bad_metadata(seen: Examined) -> Iterator[Hit]:
    """A metadata.yaml that can't be used."""
    for subject, why in seen.problems("metadata_invalid"):
        whole, *fields = why.split("\n  - ")
        for problem in fields or [whole]:
            yield Hit(subject, problem)


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


def unknown_licence(seen: Examined) -> Iterator[Hit]:
    """A licence that nobody can look up."""
    licence = seen.dataset.metadata.licence.strip()
    if licence and find_licence(licence) is None:
        near = nearest_identifier(licence)
        yield Hit(METADATA_NAME, f"The licence {licence!r} is neither a known SPDX id nor terms in words.", f"Did you mean {near}?" if near else "")  # fmt: skip


def other_slug(seen: Examined) -> Iterator[Hit]:
    """A metadata.yaml that was made for another folder."""
    slug = seen.dataset.metadata.slug
    if slug and slug != seen.dataset.slug:
        yield Hit(
            METADATA_NAME,
            f"It says that the dataset is called {slug!r}; the folder is called {seen.dataset.slug!r}.",
        )


def wrong_count(seen: Examined) -> Iterator[Hit]:
    """Counted poses that don't add up."""
    split = seen.dataset.metadata.pose_split
    if split and sum(split.values()) != len(seen.items):
        yield Hit(
            METADATA_NAME,
            f"pose_split counts {counted(sum(split.values()), 'picture')}; there are {len(seen.items)}.",
        )


def path_leak(seen: Examined) -> Iterator[Hit]:
    """A path of somebody's machine in what will be published."""
    for item in seen.captioned():
        if found := _PRIVATE_PATH.search(item.caption):
            yield Hit(item.name, f"The caption contains a path: {found[0][:60]}")
    metadata = seen.dataset.metadata
    for field in ("character", "source", "credit", "notes", "licence", "consent"):
        if found := _PRIVATE_PATH.search(getattr(metadata, field)):
            yield Hit(METADATA_NAME, f"{field} contains a path of a machine: {found[0][:60]}")


_PRIVATE_PATH = re.compile(r"(?:/(?:home|Users|root|mnt|media)/|\b[A-Za-z]:\\)[^\s,;]+")


def no_source(seen: Examined) -> Iterator[Hit]:
    """Pictures from nowhere."""
    if seen.items and not seen.dataset.metadata.source.strip():
        yield Hit(METADATA_NAME, "The source of the pictures is not named.")


def not_approved(seen: Examined) -> Iterator[Hit]:
    """Not released yet."""
    if seen.items and not seen.dataset.metadata.release_approved:
        yield Hit(METADATA_NAME, "The release of LoRAs trained on this dataset is not approved.")
