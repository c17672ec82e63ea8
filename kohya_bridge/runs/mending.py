"""Which of the runs that could not be read are worth another reading.

In: a run's folder. Out: whether anything changed that may have mended it. A list of runs is asked for many times a minute, and a
folder that is damaged for good must not be read each time.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from stat import S_ISDIR

LOOK_AGAIN_S = 10.0
"""What hindered a reading and left no trace in the folder (too many open files, a network drive that was away) is noticed so late."""
READ = ("plan.yaml", "events.jsonl")


class LastLooks:
    """What folders and the files that are read of them looked like."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, tuple[tuple[int, ...], ...]]] = {}

    def may_be_mended(self, folder: str) -> bool:
        """Whether the folder or a file has other rights, another content, or another one in its place than when this last
        said yes, or whether that was long ago. Remember what is there now, so ask before reading."""
        now = time.monotonic()
        looks = tuple(_look(path) for path in (folder, *(str(Path(folder, name)) for name in READ)))
        at, before = self._seen.get(folder, (-LOOK_AGAIN_S, ()))
        if looks == before and now - at < LOOK_AGAIN_S:
            return False
        self._seen[folder] = now, looks
        return True


def _look(path: str) -> tuple[int, ...]:
    try:
        stat = os.lstat(path)
    except OSError:
        return ()
    identity = (stat.st_mode, stat.st_ino, stat.st_ctime_ns)
    return identity if S_ISDIR(stat.st_mode) else (*identity, stat.st_size, stat.st_mtime_ns)
