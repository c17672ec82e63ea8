"""What the operating system refuses, in a person's words: which file, why, and what to do.

In: an `OSError` that nobody nearer has put into words. Out: the `BridgeError` of the same thing. For the outermost edges: shell, nodes and
the panel's routes. Standard library only.
"""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress

from .errors import BridgeError, StorageError, Unavailable
from .reasons import reason_of

_NETWORK = (ConnectionError, TimeoutError, socket.gaierror, socket.herror)
_FULL = "Free disk space, and do the same again."
_ALLOW = "Correct its permissions, or choose another folder."
_WAYS_OUT = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "Free disk space, or lift the limit on the size of a file (ulimit -f).",
    errno.EROFS: "The disk is read-only: mount it writable, or choose another folder.",
    errno.EACCES: _ALLOW,
    errno.EPERM: _ALLOW,
    errno.ENAMETOOLONG: "Choose a shorter name, or a folder that lies less deep.",
    errno.ENOENT: "Check the path; somebody may have moved or deleted it meanwhile.",
    errno.ENOTDIR: "A part of the path is a file: choose another one.",
    errno.EISDIR: "Name a file, not a folder.",
    errno.EEXIST: "Take away what is there, or choose another name.",
    errno.ENOTEMPTY: "Take away what is in it, or choose another name.",
    errno.ELOOP: "The path leads in a circle of links: choose another one.",
    errno.EMFILE: "Too many files are open: close other programs, or raise the limit (ulimit -n).",
    errno.ENFILE: "Too many files are open: close other programs.",
    errno.ENOMEM: "Free memory: close other programs.",
    errno.EIO: "The disk answers with errors: check it, and keep a copy of what is on it.",
    errno.ESTALE: "The network folder has gone: connect it again.",
    errno.EBUSY: "Another program holds it: close that, and do the same again.",
    errno.ETXTBSY: "Another program holds it: close that, and do the same again.",
    errno.EINVAL: "Choose another path.",
}


def in_words(error: OSError) -> BridgeError:
    """`error` as problem and fix; a `BridgeError` is its own words."""
    if isinstance(error, BridgeError):
        return error
    reason = reason_of(error)
    if isinstance(error, _NETWORK):
        return Unavailable(
            f"There is no connection: {reason}.", "Check the address and the network, and try again."
        )
    files = " and ".join(_shown(each) for each in (error.filename, error.filename2) if each is not None)
    what = f"{files} can't be used" if files else "A file can't be used"
    return StorageError(f"{what}: {reason}.", way_out(error))


def way_out(error: OSError) -> str:
    """What a person can do about it, as a sentence."""
    return _WAYS_OUT.get(error.errno or 0, "Check the disk and the permissions of the folder.")


def _shown(name: object) -> str:
    """A path as text, whatever its bytes; a long one by its end."""
    text = repr(name)
    with suppress(TypeError, ValueError):
        text = os.fsdecode(name)  # type: ignore[arg-type]
    return text if len(text) <= 200 else f"...{text[-200:]}"
