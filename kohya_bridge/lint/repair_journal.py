"""The journal of a repair, `originals/<stamp>/repairs.json`: what was changed, so that it can be put back.

In: a dataset that anybody may have passed on, journals included. Out: `Journal`s, each known to be of this machine or not; a
journal of another machine, or of a version that did not sign, is shown and obeyed only when a person names it. Whoever wrote
it, a journal reaches only the places in which repairs work: `names_a_place`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import Field

from .. import json_text
from ..counted import counted
from ..datasets.dataset_folder import (
    CAPTIONS_NAME,
    IMAGES_NAME,
    ORIGINALS_NAME,
    SIDECAR_SUFFIXES,
    TRAINED_SUFFIXES,
)
from ..datasets.dataset_metadata import METADATA_NAME
from ..errors import BridgeError, Conflict, NotFound, Refused
from ..files import Tree
from ..forbidding import Forbidding, parse
from ..machine_key import is_ours, sign
from .file_rules import is_cache, is_junk

JOURNAL_NAME = "repairs.json"
PURPOSE = "repairs of a dataset"
MOST_BYTES = 16 << 20
Digest = Annotated[str, Field(pattern=r"^(?:[0-9a-f]{64})?$")]


@dataclass(frozen=True)
class Repair:
    """One change: the rule it answers, the file it is about, and what is done, in a sentence."""

    rule: str
    subject: str
    action: str


class _Written(Forbidding):
    """The content of a journal's file."""

    repairs: tuple[tuple[str, str, str], ...] = ()
    """Rule, subject and action of each change."""
    kept: dict[str, Digest] | tuple[str, ...] = ()
    """What lies beside the journal, by its name in the dataset, with its SHA-256 (earlier versions: names alone)."""
    written: dict[str, Digest] = {}
    """What the repair wrote, with its SHA-256; empty until it is done."""
    signature: str = ""
    """Of the machine that wrote this."""


@dataclass(frozen=True)
class Journal:
    """One repair that was done. `kept` and `written` go from names in the dataset to digests, empty where none is known."""

    stamp: str
    repairs: tuple[Repair, ...]
    kept: dict[str, str]
    written: dict[str, str]
    is_ours: bool = True

    @property
    def folder(self) -> str:
        """Where the originals lie, relative to the dataset."""
        return f"{ORIGINALS_NAME}/{self.stamp}"

    def refuse_other_places(self) -> None:
        """Raise Refused when the journal names anything that no repair touches."""
        foreign = [name for name in (*self.kept, *self.written) if not names_a_place(name)]
        if foreign:
            raise Refused(
                f"{self.folder}/{JOURNAL_NAME} names {foreign[0][:120]!r}, where no repair works.",
                "No repair wrote it. Copy by hand what you need of the folder, then delete it.",
            )


def names_a_place(name: str) -> bool:
    """Whether a repair may write, move or delete the file of that name, relative to its dataset: the captions, the metadata,
    pictures with their caption files and caches, and what systems and editors leave behind."""
    path = PurePosixPath(name)
    if not path.parts or path.as_posix() != name or Path(name).parts != path.parts or "\0" in name:
        return False  # spelled so that this system, or another, reads another place
    if path.is_absolute() or path.parts[0] == ORIGINALS_NAME:
        return False
    if any(part.startswith(".") for part in path.parts[:-1]) or path.name == "..":
        return False
    if name in (CAPTIONS_NAME, METADATA_NAME):
        return True
    in_images = path.parent.as_posix() == IMAGES_NAME and name.lower().endswith(
        (*TRAINED_SUFFIXES, *SIDECAR_SUFFIXES)
    )
    return in_images or is_cache(path) or is_junk(path)


def write_journal(dataset_dir: Path, journal: Journal) -> None:
    """Write the journal beside what it kept, signed by this machine. Raises StorageError."""
    told: dict[str, object] = {
        "repairs": [[each.rule, each.subject, each.action] for each in journal.repairs],
        "kept": journal.kept,
        "written": journal.written,
    }
    told["signature"] = sign(PURPOSE, _signed(journal.stamp, told))
    Tree(dataset_dir).write(f"{journal.folder}/{JOURNAL_NAME}", json_text.write(told, indent=1))


def read_journals(dataset_dir: Path) -> list[Journal]:
    """Every journal that can be read, by its stamp. What is damaged, or no plain file, is passed over."""
    files, found = Tree(dataset_dir), []
    for folder in files.entries(ORIGINALS_NAME):
        try:
            told = files.read_json(folder / JOURNAL_NAME, most=MOST_BYTES)
            found.append(_read(folder.name, told))
        except (OSError, BridgeError):
            continue
    return found


def choose_journal(journals: list[Journal], stamp: str) -> Journal:
    """The journal to undo: the newest of this machine, or the one that a person names by its stamp.

    Raises:
        NotFound: there is none. Refused: there are only others' and none was named.
        Conflict: a newer one of this machine must be undone first.
    """
    ours = [each for each in journals if each.is_ours]
    if stamp:
        named = next((each for each in journals if each.stamp == stamp), None)
        if named is None:
            known = ", ".join(each.stamp for each in journals) or "none"
            raise NotFound(f"There is no repair {stamp!r} to undo.", f"Repairs: {known}.")
        if named.is_ours and named != ours[-1]:
            raise Conflict(f"A newer repair was done after {stamp}.", f"Undo {ours[-1].stamp} first.")
        return named
    if ours:
        return ours[-1]
    if not journals:
        raise NotFound("There is no repair to undo.", f"{ORIGINALS_NAME}/ has no {JOURNAL_NAME}.")
    newest = journals[-1]
    raise Refused(
        f"The repair {newest.stamp} ({counted(len(newest.repairs), 'change')}) was done on another machine, or by an earlier version.",
        f"Look at {newest.folder}; if it may be undone, name it in a shell: `python -m kohya_bridge lint` with the dataset's name and `--undo {newest.stamp}`.",
    )


def digest_of(files: Tree, name: str) -> str:
    """SHA-256 of a file of the dataset, empty when there is no plain file of that name."""
    try:
        with files.open(name) as stream:
            return hashlib.sha256(stream.read()).hexdigest()
    except FileNotFoundError:
        return ""


def _read(stamp: str, told: object) -> Journal:
    content = parse(_Written, told, what=JOURNAL_NAME)
    kept = dict(content.kept) if isinstance(content.kept, dict) else dict.fromkeys(content.kept, "")
    assert isinstance(told, dict), "it was parsed"
    return Journal(
        stamp,
        tuple(Repair(*each) for each in content.repairs),
        kept,
        content.written,
        is_ours(PURPOSE, _signed(stamp, told), content.signature),
    )


def _signed(stamp: str, told: dict[str, object]) -> str:
    """What the signature covers: everything but itself, and the name of the folder, which says which repair is the newest."""
    content = {name: value for name, value in told.items() if name != "signature"}
    return json_text.write({"stamp": stamp, **content}, sort_keys=True)
