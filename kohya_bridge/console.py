"""Terminals that can't show every letter: a Windows console or a pipe in cp1252, a POSIX locale of `C`.

In: the process's standard streams. Out: the same, which show `?` for a letter that they don't have instead of ending the verb.
Standard library only.
"""

from __future__ import annotations

import codecs
import io
import sys
from typing import Any


def let_streams_show_anything() -> None:
    """For the start of a shell's process. What a stream can show it shows as before."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")


def shows_every_letter(stream: Any) -> bool:
    """Whether a stream is in UTF-8. JSON for any other is written in ASCII, which loses nothing."""
    try:
        return codecs.lookup(stream.encoding or "").name == "utf-8"
    except (AttributeError, LookupError):
        return False
