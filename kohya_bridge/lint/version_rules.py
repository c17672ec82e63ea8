"""Rules about versions (6xx): what has changed since the dataset was trained or published.

One function each; `catalogue.py` lists them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..counted import counted
from ..datasets.dataset_folder import LOCK_NAME
from ..datasets.dataset_lock import Difference, Version, difference, version_of
from .finding import Examined, Hit

SHOWN_NAMES = 3


def damaged_lock(seen: Examined) -> Iterator[Hit]:
    """A lock file that can't be read."""
    if seen.lock_problem:
        yield Hit(LOCK_NAME, seen.lock_problem)


def changed_after_release(seen: Examined) -> Iterator[Hit]:
    """Another state than the one a published LoRA was trained on, which nobody declared to be a new version."""
    published = seen.lock.published()
    if published and _now(seen).digest not in _declared(seen):
        yield Hit(LOCK_NAME, f"Since {published.name or 'a LoRA'} was published: {_counted(difference(published, _now(seen)))}.")  # fmt: skip


def changed_after_training(seen: Examined) -> Iterator[Hit]:
    """Another state than the newest run's."""
    trained = next((each for each in reversed(seen.lock.versions) if each.reason == "trained"), None)
    if trained and trained.digest != _now(seen).digest:
        yield Hit(LOCK_NAME, f"Since {trained.name or 'the last run'} was trained: {_counted(difference(trained, _now(seen)))}.")  # fmt: skip


def _now(seen: Examined) -> Version:
    return version_of(seen.dataset, seen.hashes, reason="marked")


def _declared(seen: Examined) -> set[str]:
    return {each.digest for each in seen.lock.versions if each.reason in ("published", "marked")}


def _counted(what: Difference) -> str:
    kinds = (
        (what.added, "added"), (what.removed, "removed"), (what.changed, "changed"),
        (what.recaptioned, "with another caption"), ([new for _, new in what.renamed], "renamed"),
    )  # fmt: skip
    told = [(names, word) for names, word in kinds if names]
    parts = [f"{len(names)} {word} ({_some(names)})" for names, word in told]
    if told:  # the noun once, with the first number
        names, word = told[0]
        parts[0] = f"{counted(len(names), 'picture')} {word} ({_some(names)})"
    return ", ".join(parts) or "pictures that can't be read"


def _some(names: Sequence[str]) -> str:
    """The first few; `diff` lists them all."""
    return ", ".join(names[:SHOWN_NAMES]) + (", ..." if len(names) > SHOWN_NAMES else "")
