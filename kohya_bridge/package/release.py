"""The gate before a release: what the dataset's `metadata.yaml` must say before a LoRA may leave the run folder.

In: the dataset folder. Out: `ReleaseFacts`, or one `Refused` that lists everything that is missing. It decides nothing
about the pictures themselves: that is lint's job, before training.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..datasets.dataset_metadata import METADATA_NAME, DatasetMetadata, read_metadata
from ..datasets.licences import Licence, find_licence, nearest_identifier
from ..errors import NotFound, Refused


@dataclass(frozen=True)
class ReleaseFacts:
    """Under which terms a LoRA may be given away, and what its pictures are."""

    licence: Licence
    source: str
    credit: str
    """Whom to name for the pictures."""
    description: str
    """Who is shown."""
    rating: str


def read_release(dataset_dir: Path) -> ReleaseFacts:
    """What the dataset says about its release.

    Raises:
        NotFound: the dataset or its `metadata.yaml` is not there.
        Refused: it does not allow a release; everything that is missing is listed.
        InvalidInput: the file is not YAML, or has values that it can't have.
    """
    file = dataset_dir / METADATA_NAME
    if not file.is_file():
        raise NotFound(
            f"Dataset {dataset_dir.name} has no {METADATA_NAME}.",
            "Add one with licence, source and release_approved; Caption Export writes it.",
        )
    return check_release(read_metadata(file), dataset=dataset_dir.name)


def check_release(metadata: DatasetMetadata, *, dataset: str) -> ReleaseFacts:
    """`metadata` as `ReleaseFacts`. Raises Refused with everything that stands in the way, all at once."""
    stated, source = metadata.licence.strip(), metadata.source.strip()
    licence = find_licence(stated)
    missing = []
    if not stated:
        missing.append("licence is not stated. Write an SPDX id such as CC0-1.0, or the terms in words.")
    elif licence is None:
        near = nearest_identifier(stated)
        hint = (
            f"Did you mean {near}?" if near else "Write an SPDX id, LicenseRef-<name>, or the terms in words."
        )
        missing.append(f"licence {stated!r} is neither an id that is known here nor terms in words. {hint}")
    if not source:
        missing.append("source is not stated. Say where the pictures come from and who made them.")
    if not metadata.release_approved:
        missing.append(
            "release_approved is not true. Set it once the owner of the pictures agrees to a release."
        )
    if missing or licence is None:
        raise Refused(
            "\n".join(
                [f"Dataset {dataset} does not allow a release yet:", *(f"  - {each}" for each in missing)]
            ),
            f"Complete {METADATA_NAME} in the dataset's folder, then package again.",
        )
    return ReleaseFacts(
        licence=licence,
        source=source,
        credit=metadata.credit.strip(),
        description=metadata.character.strip(),
        rating=metadata.rating,
    )
