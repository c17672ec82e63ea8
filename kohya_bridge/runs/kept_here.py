"""Records in a run's folder that are obeyed later: which of them this machine kept for that run in this workspace.

In: a run, a file of its folder, and what is to be kept. Out: the file with a signature in it, and afterwards the record with the
answer whether it is ours. A folder that somebody passed on brings records as well; whoever obeys them looks at the answer first.
It holds for the very place: a copy of the folder elsewhere is another run's record.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import json_text
from ..errors import StorageError, UnusableFile
from ..files import Tree
from ..kept_secrets import put_away, put_back
from ..machine_key import is_ours, sign
from ..run_folder import RunFolder

SIGNATURE = "signature"
MOST_BYTES = 16 << 20


@dataclass(frozen=True)
class Record:
    """What a file says, and whether this machine kept it here."""

    content: dict[str, Any]
    is_ours: bool


def keep_here(run: RunFolder, file: Path, content: dict[str, Any], *, kind: str) -> None:
    """Write `content` as ours, its secrets apart; a record of one kind is none of another. Raises StorageError."""
    content = put_away(content)
    signed = {**content, SIGNATURE: sign(kind, _text(run, content))}
    Tree(run.dir).write(file, json_text.write(signed, indent=1))


def read_kept(run: RunFolder, file: Path, *, kind: str) -> Record:
    """The record in `file`.

    Raises:
        FileNotFoundError: there is none. UnusableFile: it is damaged, or no record.
    """
    content = Tree(run.dir).read_json(file, most=MOST_BYTES)
    if not isinstance(content, dict):
        raise UnusableFile(f"{file.name} is not a record of this program.", "Move it away.")
    signature = content.pop(SIGNATURE, None)
    try:
        ours = is_ours(kind, _text(run, content), signature)
    except StorageError:  # without a key nothing is known as ours
        ours = False
    return Record(put_back(content) if ours else content, ours)


def _text(run: RunFolder, content: dict[str, Any]) -> str:
    return json_text.write([str(run.dir), content], sort_keys=True)
