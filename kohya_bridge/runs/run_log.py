"""`logs/<slug>/<timestamp>.log`: one name for each attempt's log, where people look for logs.

In: a workspace and a run. Out: a link to the run's `train.log`: symbolic where the system allows, else a hard link, else
a copy once the attempt is over. The log itself always lies in the run folder.
"""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path

from ..errors import StorageError
from ..files import Tree
from ..run_folder import RunFolder
from ..second_names import give_second_name
from ..workspace import Workspace

log = logging.getLogger(__name__)


def link_log(workspace: Workspace, run: RunFolder, *, when: float | None = None) -> Path | None:
    """Make the link for an attempt that begins at `when`. None where the file system has no links at all."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(when))
    link = workspace.logs_dir / run.slug / f"{stamp}-{run.run_id}.log"
    run.files.append(run.log_file).close()
    made = give_second_name(run.log_file, link, inside=Tree(workspace.logs_dir), copy=False)
    return link if made else None


def copy_log(workspace: Workspace, run: RunFolder) -> None:
    """Where no link could be made, put a copy of the finished log beside the others. A folder of logs that takes none is told in
    the log and costs the run nothing: its own log is whole."""
    try:
        _copy(workspace, run)
    except StorageError as error:
        log.warning("The log of run %s has no second name: %s", run.run_id, error.problem)


def _copy(workspace: Workspace, run: RunFolder) -> None:
    logs = Tree(workspace.logs_dir)
    there = any(each.name.endswith(f"-{run.run_id}.log") for each in logs.entries(run.slug))
    if there or not run.files.is_file(run.log_file):
        return
    name = f"{run.slug}/{time.strftime('%Y%m%d-%H%M%S')}-{run.run_id}.log"
    with run.files.open(run.log_file) as source, logs.writing(name) as target:
        shutil.copyfileobj(source, target)
