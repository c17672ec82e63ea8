"""The text encoders and VAE of a plan: named by a person or found by their content, and proven by their digests.

In: names by option, a family, its base model's file. Out: what the plan says of them and where they lie. A whole checkpoint has
them inside and needs none. What is missing, the engine says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..architectures.base import Architecture
from ..errors import InvalidInput
from ..plan import ModelFileFacts
from ..workspace import file_sha256
from .base_models import is_whole_checkpoint
from .family_files import complete_model_files, find_model_file
from .places import Places


@dataclass(frozen=True)
class ChosenFiles:
    """`facts` go into the plan, `paths` to the child, both by option."""

    facts: dict[str, ModelFileFacts] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)


def choose_files(
    chosen: Mapping[str, str], of_family: Architecture, base_model_file: Path, places: Places
) -> ChosenFiles:
    """The files of `of_family` on this machine: those that are named, and where exactly one fits, the rest.

    Raises:
        InvalidInput: a name stands for a file that the family does not take.
    """
    known = {each.option: each for each in of_family.model_files}
    for option in chosen:
        if option not in known:
            takes = f"It takes {', '.join(known)}." if known else "It takes none."
            raise InvalidInput(f"{of_family.title} takes no model file called {option!r}.", takes)
    names = dict(chosen)
    if not is_whole_checkpoint(base_model_file):
        wanted = replace(
            of_family, model_files=tuple(replace(each, required=True) for each in known.values())
        )
        names = complete_model_files(names, wanted, base_model_file, places)
    found = {
        option: file
        for option, name in names.items()
        if (file := find_model_file(name, known[option], base_model_file, places.folder_hints()))
    }
    digests = {
        option: file_sha256(file, cache_dir=places.workspace.cache_dir) for option, file in found.items()
    }
    return ChosenFiles(
        {option: ModelFileFacts(name=names[option], sha256=digests[option]) for option in found},
        {option: str(file) for option, file in found.items()},
    )
