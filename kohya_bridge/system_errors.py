"""What the operating system refuses, in a person's words: which file, why, and what to do.

In: an `OSError` that nobody nearer has put into words. Out: the `BridgeError` of the same thing. For the outermost edges: shell, nodes and
the panel's routes. Standard library only.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from .errors import BridgeError, StorageError, Unavailable
from .reasons import NO_CONNECTION, reason_of, way_out

_NETWORK = (ConnectionError, TimeoutError, socket.gaierror, socket.herror)


def in_words(error: OSError) -> BridgeError:
    """`error` as problem and fix; a `BridgeError` is its own words."""
    if isinstance(error, BridgeError):
        return error
    reason = reason_of(error)
    if isinstance(error, _NETWORK):
        return Unavailable(f"There is no connection: {reason}.", NO_CONNECTION)
    files = " and ".join(_shown(each) for each in (error.filename, error.filename2) if each is not None)
    what = f"{files} can't be used" if files else "A file can't be used"
    return StorageError(f"{what}: {reason}.", way_out(error))


def _shown(name: object) -> str:
    """A path as text, whatever its bytes; a long one by its end."""
    text = repr(name)
    with suppress(TypeError, ValueError):
        text = os.fsdecode(name)  # type: ignore[arg-type]
    return text if len(text) <= 200 else f"...{text[-200:]}"
