"""`logs/<slug>/<timestamp>.log`: one name for each attempt's log, where people look for logs.

In: a workspace and a run. Out: a link to the run's `train.log`: symbolic where the system allows, else a hard link, else
a copy once the attempt is over. The log itself always lies in the run folder.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from ..run_folder import RunFolder
from ..workspace import Workspace


def link_log(workspace: Workspace, run: RunFolder, *, when: float | None = None) -> Path | None:
    """Make the link for an attempt that begins at `when`. None where the file system has no links at all."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(when))
    link = workspace.logs_dir / run.slug / f"{stamp}-{run.run_id}.log"
    link.parent.mkdir(parents=True, exist_ok=True)
    run.log_file.touch()
    link.unlink(missing_ok=True)
    for make in (_symbolic, os.link):
        try:
            make(run.log_file, link)
            return link
        except OSError:
            continue
    return None


def copy_log(workspace: Workspace, run: RunFolder) -> None:
    """Where no link could be made, put a copy of the finished log beside the others."""
    logs = workspace.logs_dir / run.slug
    if run.log_file.is_file() and not any(logs.glob(f"*-{run.run_id}.log")):
        logs.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run.log_file, logs / f"{time.strftime('%Y%m%d-%H%M%S')}-{run.run_id}.log")


def _symbolic(target: Path, link: Path) -> None:
    """A relative link, so that the whole workspace can be moved."""
    link.symlink_to(os.path.relpath(target, link.parent))
