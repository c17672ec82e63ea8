"""Secrets inside records that are obeyed later, such as a held prompt with the key of another pack's node: kept apart from the folder.

In: a plain value with secrets behind the names of its keys. Out: the same with a mark in place of each, wherever it is repeated; and
from that, on this machine, the value again. The secrets lie in files that only their owner reads, beside the machine's key, where no
folder that is copied takes them along. Standard library only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import StorageError, UnusableFile
from .machine_key import key_file, sign
from .reasons import reason_of
from .redaction import named_secrets

PURPOSE = "kept secret"
FOLDER = "secrets"
_MARK = re.compile(r"\(kept secret ([0-9a-f]{32})\)")


def put_away(value: Any) -> Any:
    """`value` with a mark for each secret, which is then in a file of its own. Raises StorageError."""
    marks = {secret: _kept(secret) for secret in sorted(named_secrets(value), key=len, reverse=True)}

    def marked(text: str) -> str:
        for secret, mark in marks.items():
            text = text.replace(secret, mark)
        return text

    return _changed(value, marked) if marks else value


def put_back(value: Any) -> Any:
    """`value` with its secrets again. Raises UnusableFile when one of them is gone."""
    return _changed(value, lambda text: _MARK.sub(lambda found: _read(found[1]), text))


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    """`value` with every text changed that is not a key."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _changed(each, change) for key, each in value.items()}
    return [_changed(each, change) for each in value] if isinstance(value, (list, tuple)) else value


def _kept(secret: str) -> str:
    """The mark of a secret, which lies in its file afterwards. The same secret always has the same one."""
    name = sign(PURPOSE, secret)[:32]
    file = _file(name)
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = file.with_name(f".{name}.{os.getpid()}")
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(secret.encode("utf-8", "surrogatepass"))
        os.replace(part, file)
    except OSError as error:
        raise StorageError(
            f"A secret of the canvas can't be kept: {reason_of(error)}.",
            f"Make {file.parent} writable for you, or take the secret out of the canvas.",
        ) from error
    return f"(kept secret {name})"


def _read(name: str) -> str:
    try:
        return _file(name).read_bytes().decode("utf-8", "surrogatepass")
    except (OSError, ValueError):
        raise UnusableFile(
            "A secret that this record needs is gone from this machine.", "Queue the canvas again."
        ) from None


def _file(name: str) -> Path:
    return key_file().parent / FOLDER / name
