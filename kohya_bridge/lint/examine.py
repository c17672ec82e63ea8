"""Decoding a whole dataset: all cores, remembered between runs, stoppable.

In: a dataset. Out: `PictureFacts` for each picture. With a cache folder, unchanged files (by path, size and time of change)
are not opened again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..dataset import Dataset, DatasetItem
from ..errors import BridgeError
from ..pictures import PictureFacts, file_pixel_digest, inspect_picture
from ..workspace import write_atomically

CACHE_VERSION = 4


class Interrupted(BridgeError):
    """The person stopped it; what was decoded so far is remembered."""


def examine_pictures(
    dataset: Dataset,
    *,
    cache_dir: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> dict[str, PictureFacts]:
    """Facts by file name. `on_progress(done, total)` is called from this thread.

    Raises:
        Interrupted: `should_stop` said so.
    """
    kept = _Kept(dataset, cache_dir)
    facts = {item.name: known for item in dataset.items if (known := kept.get(item.file))}
    pending = [item for item in dataset.items if item.name not in facts]
    total = len(dataset.items)
    if on_progress:
        on_progress(len(facts), total)
    # Pillow's decoders and hashlib release the GIL, so threads use all cores and share the results for free.
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="lint") as pool:
        running = {pool.submit(inspect_picture, item.file): item for item in pending}
        try:
            while running:
                done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in done:
                    item = running.pop(future)
                    facts[item.name] = future.result()
                    kept.put(item.file, facts[item.name])
                if on_progress and done:
                    on_progress(len(facts), total)
                if should_stop and should_stop():
                    raise Interrupted("Lint was stopped.", "Run it again; it goes on where it stopped.")
        finally:
            for future in running:
                future.cancel()
            _tell_twins(dataset, facts, kept)
            kept.save()
    return facts


def _tell_twins(dataset: Dataset, facts: dict[str, PictureFacts], kept: _Kept) -> None:
    """Hash the pixels of those pictures that look the same as another: only these can be duplicates to the last pixel."""
    groups: dict[tuple[int, int, str], list[DatasetItem]] = defaultdict(list)
    for item in dataset.items:
        if item.name in facts and (known := facts[item.name]).readable:
            groups[known.width, known.height, known.dhash].append(item)
    for item in (each for group in groups.values() if len(group) > 1 for each in group):
        if not facts[item.name].pixels:
            facts[item.name] = replace(facts[item.name], pixels=file_pixel_digest(item.file))
            kept.put(item.file, facts[item.name])


class _Kept:
    """The facts of earlier runs, one JSON file for each dataset folder."""

    def __init__(self, dataset: Dataset, cache_dir: Path | None):
        key = hashlib.sha256(str(dataset.dir).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        self.file = cache_dir / "pictures" / f"{dataset.slug[:64]}-{key}.json" if cache_dir else None
        self.old: dict[str, Any] = {}
        self.new: dict[str, Any] = {}
        if self.file and self.file.is_file():
            try:
                data = json.loads(self.file.read_bytes())
            except ValueError:  # a cache is only a cache: a damaged one is rebuilt
                data = {}
            if isinstance(data, dict) and data.get("version") == CACHE_VERSION:
                self.old = data.get("pictures", {})

    def get(self, file: Path) -> PictureFacts | None:
        known = self.old.get(file.name)
        if not self.file or not known or known["stamp"] != _stamp(file):
            return None
        self.new[file.name] = known
        return PictureFacts.from_json(known["facts"])

    def put(self, file: Path, facts: PictureFacts) -> None:
        if self.file:
            self.new[file.name] = {"stamp": _stamp(file), "facts": facts.to_json()}

    def save(self) -> None:
        if self.file and self.new != self.old:
            write_atomically(self.file, json.dumps({"version": CACHE_VERSION, "pictures": self.new}))


def _stamp(file: Path) -> list[int]:
    try:
        stat = file.stat()
    except OSError:
        return []
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino]
