"""The machine's key: tells what this machine wrote from what came along with a folder.

In: text that will be obeyed later, such as a waiting order or a list of repairs that can be undone. Out: a signature to keep
beside it, and whether one is ours. The key lies in the person's own data folder, never in a workspace, so no folder that is
copied, shared or unpacked brings it. It says who wrote, not that the text is right: readers still check every name in it.
Standard library only.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
import sys
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from .errors import StorageError
from .reasons import reason_of

FOLDER_VARIABLE = "WIZDROID_KEY_DIR"
FOLDER_NAME = "wizdroid-lora-training"
KEY_NAME = "machine.key"
KEY_BYTES = 32


def sign(purpose: str, text: str) -> str:
    """The signature of `text` by this machine, 64 hexadecimal digits. What is signed for one purpose is no good for another.

    Raises:
        StorageError: the key can't be read or made.
    """
    key = _key(key_file())
    return hmac.new(key, f"{purpose}\0{text}".encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def is_ours(purpose: str, text: str, signature: object) -> bool:
    """Whether this machine signed `text` for `purpose`. `signature` is whatever stood in the file. Raises StorageError."""
    if not isinstance(signature, str) or not signature.isascii():
        return False
    return hmac.compare_digest(sign(purpose, text), signature)


def key_file() -> Path:
    """Where the key lies: `$WIZDROID_KEY_DIR`, else the person's data folder of this system.

    Where that can't be written (a read-only home, a container without one) a folder of theirs that lasts until the machine
    is started again stands in: what was signed before a restart is then not known as ours, and a person is asked.
    """
    given = os.environ.get(FOLDER_VARIABLE)
    if given:
        return Path(given) / KEY_NAME
    usual = _data_folder() / KEY_NAME
    if _is_whole(usual) or _can_be_made(usual.parent):
        return usual
    return next((each / KEY_NAME for each in _passing_folders() if _is_private(each)), usual)


def _data_folder() -> Path:
    home = Path(os.path.expanduser("~"))
    if not home.is_absolute():  # a container's user that no one wrote down
        home = Path(os.devnull)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = os.environ.get("XDG_DATA_HOME") or home / ".local" / "share"
    return Path(base) / FOLDER_NAME


def _passing_folders() -> Iterator[Path]:
    """Folders of this person alone that are gone after a restart."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        yield Path(runtime) / FOLDER_NAME
    owner = str(os.getuid()) if hasattr(os, "getuid") else "own"
    yield Path(tempfile.gettempdir()) / f"{FOLDER_NAME}-{owner}"


def _can_be_made(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _is_private(folder: Path) -> bool:
    """Whether a folder among those of others is ours alone: somebody else may have made one of that name first."""
    if not _can_be_made(folder):
        return False
    found = folder.lstat()
    if not hasattr(os, "getuid"):
        return stat.S_ISDIR(found.st_mode)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def _is_whole(file: Path) -> bool:
    try:
        return file.is_file() and file.stat().st_size == KEY_BYTES
    except OSError:
        return False


@lru_cache(maxsize=4)
def _key(file: Path) -> bytes:
    """The key in `file`, made at the first need; whoever comes second takes the first one's."""
    try:
        if not _is_whole(file):
            _make(file)
        key = file.read_bytes()
    except OSError as error:
        raise StorageError(
            f"The key of this machine can't be read or made: {reason_of(error)}.",
            f"Make {file.parent} readable and writable for you, or name a folder of yours in {FOLDER_VARIABLE}.",
        ) from error
    return key


def _make(file: Path) -> None:
    """Put a new key at `file` whole or not at all, unless another process did so meanwhile."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = file.with_name(f".{KEY_NAME}.{secrets.token_hex(8)}")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(secrets.token_bytes(KEY_BYTES))
        stream.flush()
        os.fsync(stream.fileno())
    try:
        if file.is_file() and not _is_whole(file):  # cut by a full disk or by hand: of no use
            os.replace(part, file)
        else:
            os.link(part, file)
    except FileExistsError:
        pass
    except OSError:  # a file system without links: the last one to come wins, before anything is signed
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)
