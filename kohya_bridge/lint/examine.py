"""Decoding a whole dataset: all cores, remembered between runs, stoppable.

In: a dataset. Out: `PictureFacts` for each picture. With a cache folder, unchanged files (by path, size and time of change)
are not opened again.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue

from ..daemon_pool import DaemonPool
from ..dataset import Dataset, DatasetItem
from ..datasets.pictures import PictureFacts, file_pixel_digest, inspect_picture
from ..errors import BridgeError
from .kept_facts import KeptFacts

CACHE_VERSION = 7


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
    kept = KeptFacts(dataset, cache_dir, kind="pictures", version=CACHE_VERSION)
    facts = {
        item.name: PictureFacts.from_json(known) for item in dataset.items if (known := kept.get(item.file))
    }
    pending = [item for item in dataset.items if item.name not in facts]
    total = len(dataset.items)
    if on_progress:
        on_progress(len(facts), total)
    # Pillow's decoders release the GIL, so threads use all cores and share the results for free. Of a pool of daemons: a ComfyUI
    # that is ended meanwhile would decode all that is left first.
    finished: SimpleQueue[Future[PictureFacts]] = SimpleQueue()
    with DaemonPool(os.cpu_count() or 1, name="lint") as pool:
        running = {pool.submit(inspect_picture, item.file): item for item in pending}
        for future in running:
            future.add_done_callback(finished.put)
        try:
            while running:
                if (done := _next(finished)) is not None:
                    item = running.pop(done)
                    facts[item.name] = done.result()
                    kept.put(item.file, facts[item.name].to_json())
                    if on_progress:
                        on_progress(len(facts), total)
                if should_stop and should_stop():
                    raise Interrupted("Lint was stopped.", "Run it again; it goes on where it stopped.")
        finally:
            for future in running:
                future.cancel()
            _tell_twins(dataset, facts, kept)
            kept.save()
    return facts


def _next(finished: SimpleQueue[Future[PictureFacts]]) -> Future[PictureFacts] | None:
    """The next finished one; None when there was none for a moment, so that somebody who wants to stop is heard."""
    try:
        return finished.get(timeout=0.2)
    except Empty:
        return None


def _tell_twins(dataset: Dataset, facts: dict[str, PictureFacts], kept: KeptFacts) -> None:
    """Hash the pixels of those pictures that look the same as another: only these can be duplicates to the last pixel."""
    groups: dict[tuple[int, int, str], list[DatasetItem]] = defaultdict(list)
    for item in dataset.items:
        if item.name in facts and (known := facts[item.name]).readable:
            groups[known.width, known.height, known.dhashes[0]].append(item)
    for item in (each for group in groups.values() if len(group) > 1 for each in group):
        if not facts[item.name].pixels:
            facts[item.name] = replace(facts[item.name], pixels=file_pixel_digest(item.file))
            kept.put(item.file, facts[item.name].to_json())
