"""Versions of a dataset: what exactly was trained or published, and what has changed since.

In: a dataset. Out: `dataset.lock.json` beside it with the hash of every picture and caption, and the differences between any
two such states. A published version is frozen: its lock is never replaced, only joined by later ones.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from ..captions import locked
from ..dataset import caption_sha256, digest_of_hashes
from ..errors import InvalidInput, StorageError, UnusableFile
from ..files import Tree
from ..forbidding import Forbidding, parse
from ..workspace import file_sha256
from .dataset_folder import LOCK_NAME, Dataset, read_dataset

log = logging.getLogger(__name__)
Sha = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Reason = Literal["trained", "published", "marked"]
KEPT_VERSIONS = 20
MAX_LOCK_BYTES = 64 << 20


class LockedItem(Forbidding):
    """One picture of a version."""

    picture: Sha
    """SHA-256 of the file."""
    caption: Sha
    """SHA-256 of the caption's UTF-8 text."""


class Version(Forbidding):
    """One state of the dataset."""

    digest: Sha
    """The dataset's digest: what a plan names."""
    reason: Reason
    """Why it was taken down; `published` is frozen."""
    name: str = ""
    """The run or the LoRA it was for."""
    time: float
    """Seconds since the epoch."""
    items: dict[str, LockedItem]
    """File name -> hashes."""


class Lock(Forbidding):
    """The content of `dataset.lock.json`, oldest version first."""

    version: Literal[1] = 1
    """Format of the file."""
    versions: tuple[Version, ...] = ()
    """Every version taken down; of those that were only trained, the newest 20."""

    def latest(self) -> Version | None:
        return self.versions[-1] if self.versions else None

    def published(self) -> Version | None:
        """The newest published version."""
        return next((each for each in reversed(self.versions) if each.reason == "published"), None)


@dataclass(frozen=True)
class Difference:
    """What separates two states: file names that came, went, show another picture, or only have another caption."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    recaptioned: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = field(default=())

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.recaptioned or self.renamed)

    def text(self) -> str:
        """The differences line by line; `no difference` when there is none."""
        lines = [f"added      {name}" for name in self.added]
        lines += [f"removed    {name}" for name in self.removed]
        lines += [f"changed    {name}" for name in self.changed]
        lines += [f"recaption  {name}" for name in self.recaptioned]
        lines += [f"renamed    {old} -> {new}" for old, new in self.renamed]
        return "\n".join(lines) or "no difference"


def snapshot(
    dataset: Dataset,
    *,
    reason: Reason = "marked",
    name: str = "",
    cache_dir: Path | None = None,
    clock: Callable[[], float] = time.time,
) -> Version:
    """The dataset as it is now. Its digest is `dataset_digest`'s."""
    hashes = {item.name: file_sha256(item.file, cache_dir=cache_dir) for item in dataset.items}
    return version_of(dataset, hashes, reason=reason, name=name, time=clock())


def version_of(
    dataset: Dataset, picture_hashes: Mapping[str, str], *, reason: Reason, name: str = "", time: float = 0.0
) -> Version:
    """A version from hashes that somebody has computed already; a picture without one is left out."""
    items = {
        item.name: LockedItem(picture=picture_hashes[item.name], caption=caption_sha256(item.caption))
        for item in dataset.items
        if picture_hashes.get(item.name)
    }
    digest = digest_of_hashes((name, item.picture, item.caption) for name, item in items.items())
    return Version(digest=digest, reason=reason, name=name, time=time, items=items)


def read_lock(dir: Path) -> Lock:
    """The versions that were taken down for a dataset folder; none when there is no lock file.

    Raises:
        InvalidInput: the file is damaged.
    """
    return parse(Lock, _loaded(dir), what=LOCK_NAME)


def readable_lock(dir: Path) -> tuple[Lock, str]:
    """The versions that can be read, and what is wrong with the others; empty when nothing is."""
    problems, versions = [], []
    try:
        data = _loaded(dir)
        rows = data.get("versions", []) if isinstance(data, dict) else []
        for number, row in enumerate(rows if isinstance(rows, list) else [], start=1):
            try:
                versions.append(parse(Version, row, what=f"{LOCK_NAME}: version {number}"))
            except InvalidInput as error:
                problems.append(error.problem)
        return parse(Lock, {**data, "versions": versions} if versions else data, what=LOCK_NAME), "\n".join(
            problems
        )
    except InvalidInput as error:
        return Lock(versions=tuple(versions)), "\n".join(problems) or error.problem


def _loaded(dir: Path) -> Any:
    try:
        return Tree(dir).read_json(LOCK_NAME, most=MAX_LOCK_BYTES)
    except FileNotFoundError:
        return {}
    except UnusableFile as error:
        raise InvalidInput(error.problem, "Bring back an older copy, or move it away.") from None


def take_version(dataset: Dataset, version: Version) -> Lock:
    """Add a version to the dataset's lock file and return the lock. The same state for the same reason is added once.

    Raises:
        InvalidInput, StorageError, Conflict: the lock is damaged, can't be written, or is held by another program.
    """
    file = dataset.dir / LOCK_NAME
    with locked(file):
        lock = read_lock(dataset.dir)
        same = [(each.digest, each.reason, each.name) for each in lock.versions]
        if (version.digest, version.reason, version.name) in same:
            return lock
        lock = Lock(versions=_thinned((*lock.versions, version)))
        Tree(dataset.dir).write(file, lock.model_dump_json(indent=1))
    return lock


def note_training(dataset_dir: Path, *, run_id: str, cache_dir: Path | None = None) -> None:
    """Take down what a run is trained on, so that lint can tell what has changed since.

    A lock that is damaged or can't be written stays as it is, and hinders no training: lint goes on telling of the damage (E601).

    Raises:
        Conflict: another program holds the lock.
    """
    dataset = read_dataset(dataset_dir)
    version = snapshot(dataset, reason="trained", name=run_id, cache_dir=cache_dir)
    try:
        take_version(dataset, version)
    except (InvalidInput, StorageError) as error:
        log.warning("What run %s is trained on is not taken down: %s %s", run_id, error.problem, error.fix)


def difference(old: Version, new: Version) -> Difference:
    """What happened between two versions. A picture that only moved to another name counts as renamed."""
    gone = {name: item for name, item in old.items.items() if name not in new.items}
    came = {name: item for name, item in new.items.items() if name not in old.items}
    renamed: list[tuple[str, str]] = []
    for name, item in gone.items():
        twin = next((other for other, its in came.items() if its.picture == item.picture and other not in {n for _, n in renamed}), None)  # fmt: skip
        if twin:
            renamed.append((name, twin))
    both = [name for name in old.items if name in new.items]
    return Difference(
        added=tuple(name for name in came if name not in {new_name for _, new_name in renamed}),
        removed=tuple(name for name in gone if name not in {old_name for old_name, _ in renamed}),
        changed=tuple(name for name in both if old.items[name].picture != new.items[name].picture),
        recaptioned=tuple(
            name
            for name in both
            if old.items[name].picture == new.items[name].picture
            and old.items[name].caption != new.items[name].caption
        ),
        renamed=tuple(renamed),
    )


def _thinned(versions: tuple[Version, ...]) -> tuple[Version, ...]:
    """Published and marked versions stay for ever; of the others the newest ones."""
    trained = [each for each in versions if each.reason == "trained"][-KEPT_VERSIONS:]
    return tuple(each for each in versions if each.reason != "trained" or each in trained)
