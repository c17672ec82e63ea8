"""What `metadata.yaml` says of a dataset: whose it is, whether it may be released, and which findings are accepted.

In: a YAML file written by a person or by Caption Export. Out: `DatasetMetadata`. Whether the values are good enough to
train or to publish is not decided here; lint does that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AliasChoices, ConfigDict, Field, field_validator

from ..files import Tree
from ..forbidding import Forbidding, parse, read_yaml
from ..redaction import cleaned

METADATA_NAME = "metadata.yaml"
Line = Annotated[str, Field(max_length=2000)]


class Waiver(Forbidding):
    """A finding that a person accepts. It is shown as information with its reason; it never disappears."""

    rule: Annotated[str, Field(pattern=r"^[EWI]\d{3}$")]
    """Id of the rule, such as `E201`."""
    reason: Annotated[str, Field(min_length=3, max_length=500)]
    """Why it is accepted."""
    subject: str = ""
    """File name it is for; empty means every subject of the rule."""


class DatasetMetadata(Forbidding):
    """The content of `metadata.yaml`."""

    model_config = ConfigDict(populate_by_name=True)

    slug: str = ""
    """Folder name of the dataset."""
    character: Line = ""
    """Who is shown, in a sentence."""
    lora_tag: str = ""
    """The trigger: a plain token that stands first in every caption."""
    class_word: str = ""
    """What the character is to the base model (`woman`, `robot`); captions carry it beside the trigger."""
    licence: Line = Field(default="", validation_alias=AliasChoices("licence", "license"))
    """Licence of the pictures: an SPDX id such as `CC0-1.0`, or the terms in words."""
    source: Line = ""
    """Where the pictures come from."""
    credit: Line = ""
    """Whom to name: artist, photographer, model."""
    consent: Line = ""
    """For pictures of real people: that and how they agreed."""
    release_approved: bool = False
    """Whether a LoRA of this dataset may be packaged for others."""
    rating: Literal["sfw", "suggestive", "nsfw"] = "sfw"
    """The most permissive content that captions and pictures may have."""
    pose_split: dict[str, int] = {}
    """How many pictures of each pose or view, as the curator counted."""
    absorb: tuple[str, ...] = ()
    """Caption words that are meant to become part of the trigger; lint then expects them in no caption or in all."""
    notes: str = ""
    """Anything else worth knowing."""
    waivers: tuple[Waiver, ...] = ()
    """Accepted findings."""

    @field_validator("*", mode="before")
    @classmethod
    def _without_secrets(cls, value: Any) -> Any:
        """Such as a password in the address of `source`: what is said of a dataset goes into cards and zips."""
        return cleaned(value)


def read_metadata(file: Path) -> DatasetMetadata:
    """The content of a `metadata.yaml`. Raises InvalidInput with everything wrong in it."""
    return parse(DatasetMetadata, read_yaml(Tree(file.parent).plain(file)) or {}, what=file.name)


def write_metadata(file: Path, metadata: DatasetMetadata) -> Path:
    """Replace a `metadata.yaml`, leaving out what has its default. Raises StorageError."""
    values: dict[str, Any] = metadata.model_dump(mode="json", exclude_defaults=True)
    values.setdefault("release_approved", metadata.release_approved)
    return Tree(file.parent).write(
        file, yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)
    )
