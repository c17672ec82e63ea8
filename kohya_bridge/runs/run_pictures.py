"""The pictures of a run: samples of the trainer, validation grids, and its data set's first picture.

In: a run. Out: `Picture`s under flat names, and thumbnails. A picture is served only if it is in this list, so a name in
a request is looked up, never joined to a path. Reading needs Pillow; nothing but the thumbnail cache is written.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..datasets.pictures import DECODER_FAILURES, opened
from ..errors import NotFound, StorageError
from ..files import Tree, open_named
from ..run_folder import RunFolder
from ..workspace import Workspace

PICTURE_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
THUMBNAIL_SIZES = (96, 320)
"""Longest edges in pixels that thumbnails are made in."""


@dataclass(frozen=True)
class Picture:
    """One picture: `name` is unique in its run, `kind` is sample or grid, `step` the training step where known."""

    name: str
    kind: str
    file: Path
    step: int | None = None
    caption: str = ""

    def to_json(self) -> dict[str, Any]:
        try:
            stat = self.file.stat()
            time, version = stat.st_mtime, f"{stat.st_mtime_ns:x}-{stat.st_size:x}"
        except OSError:  # it went away since it was listed
            time, version = 0.0, ""
        return {
            "name": self.name,
            "kind": self.kind,
            "step": self.step,
            "caption": self.caption,
            "time": time,
            "version": version,
        }


def list_pictures(workspace: Workspace, run: RunFolder, samples: Iterable[dict[str, Any]]) -> list[Picture]:
    """Samples that the events tell of, then grids of the run's validation folder; only files that are inside."""
    found = []
    for row in samples:
        file = run.dir / str(row.get("file", ""))
        if _is_picture(file, run.files):
            caption = str(row.get("prompt") or "")
            found.append(Picture(_flat("sample", file, run.dir), "sample", file, row.get("step"), caption))
    grids = Tree(workspace.validation_dir(run.slug, run.run_id))
    # Not what lies deeper: the single cells of those grids, hundreds of them.
    for file in grids.entries():
        if _is_picture(file, grids):
            found.append(Picture(_flat("grid", file, grids.dir), "grid", file, _step_in(file.name)))
    return found


def find_picture(pictures: Iterable[Picture], name: str) -> Picture:
    """The picture of that name. Raises NotFound."""
    for each in pictures:
        if each.name == name:
            return each
    raise NotFound(
        "This run has no such picture.", "Open the run again: the list of its pictures is made anew."
    )


def dataset_picture(workspace: Workspace, slug: str) -> Path | None:
    """The first picture of a data set, or None."""
    dataset = Tree(workspace.dataset_dir(slug))
    return next((file for file in dataset.entries("images") if _is_picture(file, dataset)), None)


def thumbnail(workspace: Workspace, file: Path, *, size: int) -> bytes:
    """`file` as WebP with its longest edge at `size` pixels; made once for each content and kept in the cache.

    Raises:
        StorageError: the file is no picture.
    """
    stat = file.stat()
    key = hashlib.sha256(f"{file.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{size}".encode()).hexdigest()
    kept = workspace.cache_dir / "thumbnails" / f"{key}.webp"
    cache = Tree(workspace.cache_dir)
    with suppress(OSError):
        return cache.read_bytes(kept)
    try:
        with open_named(file) as stream, opened(stream) as picture:
            small = picture.convert("RGBA" if "A" in picture.getbands() else "RGB")
            small.thumbnail((size, size))
            drawn = io.BytesIO()
            small.save(drawn, "WEBP", quality=82)
    except DECODER_FAILURES as error:
        raise StorageError(
            f"{file.name} can't be read as a picture.", "Delete it or make it again."
        ) from error
    cache.write(kept, drawn.getvalue())
    return drawn.getvalue()


def _is_picture(file: Path, inside: Tree) -> bool:
    """A link that leads out of the folder is not one of its pictures."""
    return file.suffix.lower() in PICTURE_TYPES and inside.is_file(file)


def _flat(kind: str, file: Path, folder: Path) -> str:
    relative = file.relative_to(folder).as_posix()
    return f"{kind}-" + re.sub(r"[^A-Za-z0-9._-]", "~", relative)


def _step_in(name: str) -> int | None:
    found = re.search(r"step0*(\d+)", name)
    return int(found.group(1)) if found else None
