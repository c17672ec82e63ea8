"""The trainer's own log (`train.log`, its standard output and error): worth much, but never the run.

On a disk that takes nothing, writing to it fails as everything does. Then the verdict is told by events or the exit code all the
same. Standard library only.
"""

from __future__ import annotations

import os
import sys
import traceback


def log_traceback() -> None:
    """Write the traceback of the exception at hand into the log, if the log takes it."""
    try:
        traceback.print_exc()
    except OSError:
        pass


def let_go_of_a_full_log() -> None:
    """Throw away what the log does not take: Python would try again at its end, and end with exit code 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
