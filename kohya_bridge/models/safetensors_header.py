"""The header of a .safetensors file: names, shapes and number formats of its tensors, and its metadata.

In: a file that anyone may have made. Out: a checked `SafetensorsHeader`, or an `InvalidInput` that says in one sentence
what the file is instead. It reads no weights, imports no torch and unpickles nothing.
Format: 8 bytes little-endian header length, that much JSON, then the tensors' bytes (safetensors' README, "Format").
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .. import json_text
from ..counted import counted
from ..errors import InvalidInput, NotFound, StorageError
from ..files import open_named
from ..reasons import reason_of

MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library itself
BYTES_PER_NUMBER: dict[str, float] = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
    "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1, "F6_E2M3": 0.75, "F6_E3M2": 0.75, "F4": 0.5, "C64": 8,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
PICKLE_SUFFIXES = {".ckpt", ".pt", ".pth", ".bin", ".pkl"}


@dataclass(frozen=True)
class TensorInfo:
    """One tensor: number format as the file names it ("F16"), shape, and its bytes `begin:end` in the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class SafetensorsHeader:
    """What a file says of itself. `metadata` is its string-to-string table."""

    file: Path
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]

    def shapes(self, prefix: str) -> dict[str, tuple[int, ...]]:
        """Shapes of the tensors below `prefix`, by the rest of their names."""
        return {
            name[len(prefix) :]: info.shape for name, info in self.tensors.items() if name.startswith(prefix)
        }


def read_header(file: Path) -> SafetensorsHeader:
    """The checked header of `file`.

    Raises:
        NotFound: no such file. InvalidInput: a folder, a pickle, truncated, or no safetensors file at all.
        StorageError: the file can't be read.
    """
    file = Path(file)
    _refuse_by_name(file)
    try:
        size = file.stat().st_size
        with open_named(file) as stream:
            start = stream.read(8)
            _refuse_by_content(file, start, size)
            length = int.from_bytes(start, "little")
            raw = stream.read(length)
    except FileNotFoundError:
        raise NotFound(
            f"There is no file {file.name}.", "Check the name, or refresh the list of models."
        ) from None
    except OSError as error:
        raise StorageError(
            f"{file.name} can't be read: {reason_of(error)}.", "Check the disk and the file's permissions."
        ) from None
    try:
        entries = json_text.read(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        raise _not_safetensors(file) from None
    return _checked(file, entries, data_begin=8 + length, size=size)


def read_tensor(header: SafetensorsHeader, name: str) -> bytes:
    """The raw bytes of one tensor; for small ones."""
    info = header.tensors[name]
    with open_named(header.file) as stream:
        stream.seek(info.begin)
        return stream.read(info.end - info.begin)


def _refuse_by_name(file: Path) -> None:
    if file.is_dir():
        raise InvalidInput(f"{file.name} is a folder, not a file.", "Choose a .safetensors file.")
    if file.suffix.lower() in PICKLE_SUFFIXES and file.exists():
        raise InvalidInput(
            f"{file.name} is a pickle file, which can run any program when it is opened.",
            "Use the model's .safetensors version, or convert it on a machine you don't mind losing.",
        )


def _refuse_by_content(file: Path, start: bytes, size: int) -> None:
    if start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04") or start[:4] == b"PK\x03\x04":
        raise InvalidInput(
            f"{file.name} is a pickle file under another name.", "Use the model's real .safetensors version."
        )
    if start.lstrip()[:1] == b"<" or start.startswith(b"version "):
        raise InvalidInput(
            f"{file.name} is a web page or a download pointer, not a model.", "Download the model again."
        )
    if len(start) < 8 or size == 0:
        raise InvalidInput(
            f"{file.name} is empty or cut off after {counted(size, 'byte')}.", "Download the model again."
        )
    length = int.from_bytes(start, "little")
    if not 2 <= length <= MAX_HEADER_BYTES:
        raise _not_safetensors(file)
    if 8 + length > size:
        raise InvalidInput(
            f"{file.name} is cut off: its header alone needs {8 + length:,} bytes, and the file has {size:,}.",
            "Download the model again.",
        )


def _not_safetensors(file: Path) -> InvalidInput:
    return InvalidInput(
        f"{file.name} is not a safetensors file.", "Choose a model that was saved as .safetensors."
    )


def _checked(file: Path, entries: object, *, data_begin: int, size: int) -> SafetensorsHeader:
    if not isinstance(entries, dict):
        raise _not_safetensors(file)
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _not_safetensors(file)
    tensors: dict[str, TensorInfo] = {}
    for name, entry in entries.items():
        info = _tensor_info(entry, data_begin)
        if info is None:
            raise InvalidInput(
                f"{file.name} has a damaged header: its entry {name[:80]!r} makes no sense.",
                "Download the model again.",
            )
        tensors[name] = info
    expected = data_begin
    for info in sorted(tensors.values(), key=lambda each: (each.begin, each.end)):
        if info.begin != expected:
            raise InvalidInput(
                f"{file.name} has a damaged header: its tensors overlap or leave gaps.",
                "Download the model again.",
            )
        expected = info.end
    if expected > size:
        raise InvalidInput(
            f"{file.name} is cut off: it has {size:,} of its {expected:,} bytes.",
            "Download the model again.",
        )
    if expected < size:
        raise InvalidInput(
            f"{file.name} is damaged: {counted(size - expected, 'byte')} at its end belong to no tensor.",
            "Download the model again.",
        )
    return SafetensorsHeader(file, tensors, metadata)


def _tensor_info(entry: object, data_begin: int) -> TensorInfo | None:
    """The entry as a `TensorInfo`; None when it contradicts itself."""
    if not isinstance(entry, dict):
        return None
    dtype, shape, offsets = (
        entry.get("dtype"),
        _counts(entry.get("shape")),
        _counts(entry.get("data_offsets")),
    )
    if not isinstance(dtype, str) or dtype not in BYTES_PER_NUMBER:
        return None
    if shape is None or offsets is None or len(offsets) != 2 or len(shape) > 8:
        return None
    begin, end = offsets
    if end - begin != math.prod(shape) * BYTES_PER_NUMBER[dtype]:
        return None
    return TensorInfo(dtype, shape, data_begin + begin, data_begin + end)


def _counts(value: object) -> tuple[int, ...] | None:
    """A list of whole numbers that are not negative; None for anything else."""
    if not isinstance(value, list) or not all(type(each) is int and 0 <= each < 2**63 for each in value):
        return None
    return tuple(value)
