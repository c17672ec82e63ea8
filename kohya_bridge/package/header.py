"""Rewriting the metadata of a .safetensors file without touching a byte of its tensors.

In: a checked header (`safetensors_header`) and a new metadata table. Out: a new file whose tensor data has the same
SHA-256 as before, checked by reading it back. No torch, and nothing is held in memory but 4 MiB blocks.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .. import json_text
from ..counted import counted
from ..errors import Conflict, InvalidInput, StorageError
from ..files import Tree, open_named
from ..models.safetensors_header import SafetensorsHeader, read_header
from ..reasons import reason_of
from ..workspace import file_sha256

MAX_HEADER_BYTES = (1 << 20) - 1
"""ComfyUI's `/view_metadata` reads no header of 1 MiB or more."""
BLOCK_BYTES = 1 << 22


@dataclass(frozen=True)
class Rewritten:
    """A finished file. `tensor_sha256` covers the tensor data alone, `sha256` the whole file."""

    file: Path
    sha256: str
    tensor_sha256: str


def header_bytes(header: SafetensorsHeader, metadata: Mapping[str, str]) -> bytes:
    """The JSON header with `metadata`, tensors in the file's order, padded with blanks to a multiple of 8.

    Raises:
        InvalidInput: a metadata value is no string, or the header would be larger than ComfyUI reads.
    """
    wrong = [key for key, value in metadata.items() if not isinstance(key, str) or not isinstance(value, str)]
    if wrong:
        raise InvalidInput(f"Metadata {wrong[0]!r} is not text.", "Safetensors metadata holds strings only.")
    begin = _data_begin(header)
    entries: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    for name, info in header.tensors.items():
        entries[name] = {
            "dtype": info.dtype,
            "shape": list(info.shape),
            "data_offsets": [info.begin - begin, info.end - begin],
        }
    raw = json_text.write(entries, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    raw += b" " * (-len(raw) % 8)
    if len(raw) > MAX_HEADER_BYTES:
        raise InvalidInput(
            f"The header would be {counted(len(raw), 'byte')} long; ComfyUI shows none above {MAX_HEADER_BYTES:,}.",
            "Leave out the thumbnail or the tag frequencies.",
        )
    return raw


def tensor_sha256(header: SafetensorsHeader) -> str:
    """SHA-256 over everything behind the header: what kohya calls `sshs_model_hash` and Civitai's AutoV3 begins with."""
    digest = hashlib.sha256()
    for block in _data_blocks(header):
        digest.update(block)
    return digest.hexdigest()


def rewrite_metadata(
    source: SafetensorsHeader, folder: Path, metadata: Mapping[str, str], *, name: Callable[[str], str]
) -> Rewritten:
    """Write `source` with `metadata` into `folder` as `name(sha256 of the new file)`.

    A file of that name with the same content is left as it is: packaging twice gives one file.

    Raises:
        Conflict: a different file has that name.
        InvalidInput: the header gets too large, or the source changed while it was copied.
        StorageError: the disk is full or read-only; nothing is left behind.
    """
    raw = header_bytes(source, metadata)
    before = tensor_sha256(source)
    files, temporary = Tree(folder), folder / f".package-{os.urandom(6).hex()}.tmp"
    try:
        with files.create(temporary) as stream:
            stream.write(len(raw).to_bytes(8, "little") + raw)
            for block in _data_blocks(source):
                stream.write(block)
            stream.flush()
            os.fsync(stream.fileno())
        if tensor_sha256(read_header(temporary)) != before:
            raise InvalidInput(f"{source.file.name} changed while it was copied.", "Package it again.")
        sha256 = file_sha256(temporary)
        file = folder / name(sha256)
        if os.path.lexists(file):
            if file_sha256(file) != sha256:
                raise Conflict(
                    f"{file.name} exists and is another file.", "Move it away, then package again."
                )
        else:
            files.move(temporary, file)
        return Rewritten(file, sha256, before)
    except OSError as error:
        raise StorageError(
            f"The packaged LoRA could not be written: {reason_of(error)}.",
            f"Free disk space or correct the permissions of {folder}; nothing was changed.",
        ) from error
    finally:
        with suppress(OSError):
            files.remove(temporary)


def _data_begin(header: SafetensorsHeader) -> int:
    return min((info.begin for info in header.tensors.values()), default=header.file.stat().st_size)


def _data_blocks(header: SafetensorsHeader) -> Iterator[bytes]:
    with open_named(header.file) as stream:
        stream.seek(_data_begin(header))
        while block := stream.read(BLOCK_BYTES):
            yield block
