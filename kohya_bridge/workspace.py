"""The workspace: the one folder below which all user data lives, and the names that are allowed in it.

In: a root folder and names (slugs, run ids). Out: absolute paths that are certainly inside the root. Nothing here reads
or writes the content of datasets or runs.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import disk, json_text
from .breathing import breathe
from .counted import counted
from .errors import InvalidInput, NotFound
from .files import Tree, open_named
from .files import write_atomically as write_atomically

SLUG = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9_])?")
RUN_ID = re.compile(r"[0-9a-f]{12}")
RESERVED_ON_WINDOWS = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"com{n}" for n in range(1, 10)),
    *(f"lpt{n}" for n in range(1, 10)),
}
PACK_ROOT = Path(__file__).resolve().parent.parent


def check_slug(slug: str, *, what: str = "dataset") -> str:
    """`slug` unchanged if it may name a folder on every system.

    Raises:
        InvalidInput: it has other characters than `a-z 0-9 _ -`, is longer than 64, or is reserved on Windows.
    """
    if not isinstance(slug, str) or not SLUG.fullmatch(slug) or slug in RESERVED_ON_WINDOWS:
        raise InvalidInput(
            f"{slug[:80]!r} can't be the name of a {what}.",
            "Use 1 to 64 lower-case letters, digits, '_' and '-', beginning with a letter or digit, such as 'char_alice'.",
        )
    return slug


def check_run_id(run_id: str) -> str:
    """`run_id` unchanged if it has the form of one. Raises InvalidInput otherwise."""
    if not isinstance(run_id, str) or not RUN_ID.fullmatch(run_id):
        raise InvalidInput(
            f"{run_id!r} is not a run id.",
            "Write its 12 digits (0-9 and a-f), or at least the first 4; the panel lists them, and `runs` in a shell.",
        )
    return run_id


@dataclass(frozen=True)
class Workspace:
    """Paths below one root; see docs/architecture.md for the tree."""

    root: Path

    @classmethod
    def at(cls, root: str | Path) -> Workspace:
        return cls(Path(root).expanduser().resolve())

    @classmethod
    def default(cls) -> Workspace:
        """`$WIZDROID_TRAINING`, else `training/` of this checkout: the rule for a shell. Nodes ask ComfyUI instead."""
        return cls.at(os.environ.get("WIZDROID_TRAINING") or PACK_ROOT / "training")

    @property
    def datasets_dir(self) -> Path:
        return self.root / "kohya" / "datasets"

    @property
    def prompts_dir(self) -> Path:
        return self.root / "kohya" / "prompts"

    @property
    def configs_dir(self) -> Path:
        return self.root / "kohya" / "configs"

    @property
    def runs_dir(self) -> Path:
        return self.root / "runs"

    @property
    def logs_dir(self) -> Path:
        return self.root / "logs"

    @property
    def validations_dir(self) -> Path:
        return self.root / "validations"

    @property
    def cache_dir(self) -> Path:
        return self.root / "cache"

    @property
    def trash_dir(self) -> Path:
        return self.root / "trash"

    @property
    def experiments_file(self) -> Path:
        return self.root / "experiments.jsonl"

    def dataset_dir(self, slug: str) -> Path:
        return self.datasets_dir / check_slug(slug)

    def prompts_file(self, character_id: str) -> Path:
        return self.prompts_dir / f"{check_slug(character_id, what='character')}.jsonl"

    def run_dir(self, slug: str, run_id: str) -> Path:
        return self.runs_dir / check_slug(slug) / check_run_id(run_id)

    def validation_dir(self, slug: str, run_id: str) -> Path:
        return self.validations_dir / check_slug(slug) / check_run_id(run_id)

    def run_dirs(self) -> Iterator[Path]:
        """Every run folder that holds a plan, in name order. Links are left out: `runs/` itself may be one."""
        return (Path(path) for _, path in self.run_names())

    def run_names(self, slug: str | None = None) -> Iterator[tuple[str, str]]:
        """`slug/run_id` and path of every run folder that holds a plan, in name order; those of one `slug` where it is given.

        Plain strings, because a thousand `Path`s take longer than all the rest.
        """
        for folder in _folders(self.runs_dir):
            for run in _folders(folder.path) if slug in (None, folder.name) else ():
                breathe()
                if RUN_ID.fullmatch(run.name) and os.path.lexists(f"{run.path}/plan.yaml"):
                    yield f"{folder.name}/{run.name}", run.path

    def find_run(self, run_id: str) -> Path:
        """The folder of the run with that id (or unambiguous beginning of one, 4 digits or more).

        Raises:
            NotFound: no run, or more than one, has it.
        """
        if not re.fullmatch(r"[0-9a-f]{4,12}", run_id or ""):
            check_run_id(run_id)
        found = [each for each in self.run_dirs() if each.name.startswith(run_id)]
        if len(found) == 1:
            return found[0]
        raise NotFound(
            f"There is no run {run_id!r}." if not found else f"{run_id!r} fits {counted(len(found), 'run')}.",
            "The panel lists them, and `python -m kohya_bridge runs` in a shell."
            if not found
            else "Give more digits of the id.",
        )

    def run_named(self, run_id: str) -> Path:
        """The folder of the run with exactly that id, certainly inside the workspace: what a web request may name.

        Raises:
            InvalidInput: it has not the form of a run id.
            NotFound: there is no such run, or its folder is a link that leads out of `runs/`.
        """
        check_run_id(run_id)
        for slug in _folders(self.runs_dir):
            run_dir = Path(slug.path) / run_id
            if os.path.lexists(run_dir / "plan.yaml") and not disk.is_link(os.lstat(run_dir)):
                return run_dir
        raise NotFound(
            f"There is no run {run_id} in this workspace.", "The list of runs shows what is there."
        )


def _folders(folder: str | Path) -> list[os.DirEntry[str]]:
    """The real folders in a folder, in name order."""
    try:
        with os.scandir(folder) as entries:
            found = [each for each in entries if each.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(found, key=lambda each: each.name)


def file_sha256(file: Path, *, cache_dir: Path | None = None) -> str:
    """SHA-256 of a file in hex. With `cache_dir` the answer is kept by path, size and mtime (a 7 GB base takes 8 s)."""
    stat = file.stat()
    key = hashlib.sha256(f"{file.resolve()}|{stat.st_size}|{stat.st_mtime_ns}".encode()).hexdigest()
    known = _kept_sha256(Tree(cache_dir), key) if cache_dir else None
    if known:
        return known
    with open_named(file) as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 22):
            digest.update(block)
    if cache_dir:
        told = json_text.write({"file": file.name, "sha256": digest.hexdigest()})
        Tree(cache_dir).write(f"sha256/{key}.json", told)
    return digest.hexdigest()


def _kept_sha256(cache: Tree, key: str) -> str | None:
    """The digest that was taken down earlier; a damaged note is as good as none."""
    try:
        return str(cache.read_json(f"sha256/{key}.json")["sha256"])
    except (OSError, KeyError, TypeError):
        return None
