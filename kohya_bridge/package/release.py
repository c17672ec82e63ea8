"""The gate before a release: what the dataset's `metadata.yaml` must say before a LoRA may leave the run folder.

In: the dataset folder. Out: `ReleaseFacts`, or one `Refused` that lists everything that is missing. It decides nothing
about the pictures themselves: that is lint's job, before training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import NotFound, Refused
from ..forbidding import read_yaml
from ..licences import Licence, find_licence, nearest_identifier

METADATA_NAME = "metadata.yaml"


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
        InvalidInput: the file is not YAML.
    """
    file = dataset_dir / METADATA_NAME
    if not file.is_file():
        raise NotFound(
            f"Dataset {dataset_dir.name} has no {METADATA_NAME}.",
            "Add one with license, source and release_approved; Caption Export writes it.",
        )
    data = read_yaml(file)
    return check_release(data if isinstance(data, dict) else {}, dataset=dataset_dir.name)


def check_release(metadata: Mapping[str, Any], *, dataset: str) -> ReleaseFacts:
    """`metadata` as `ReleaseFacts`. Raises Refused with everything that stands in the way, all at once."""
    stated = _text(metadata, "license") or _text(metadata, "licence")
    licence = find_licence(stated)
    missing = []
    if not stated:
        missing.append("license is not stated. Write an SPDX id such as CC0-1.0, or the terms in words.")
    elif licence is None:
        near = nearest_identifier(stated)
        hint = (
            f"Did you mean {near}?" if near else "Write an SPDX id, LicenseRef-<name>, or the terms in words."
        )
        missing.append(f"license {stated!r} is neither an id that is known here nor terms in words. {hint}")
    source = _text(metadata, "source")
    if not source:
        missing.append("source is not stated. Say where the pictures come from and who made them.")
    if metadata.get("release_approved") is not True:
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
        credit=_text(metadata, "credit"),
        description=_text(metadata, "character"),
        rating=_text(metadata, "rating"),
    )


def _text(metadata: Mapping[str, Any], key: str) -> str:
    value = metadata.get(key)
    return str(value).strip() if isinstance(value, (str, int, float)) and not isinstance(value, bool) else ""
