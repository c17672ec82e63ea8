"""LoRA files: written complete or not at all, with kohya's metadata, the same bytes for the same content.

In: `LoraNetwork.state()` and metadata. Out: a .safetensors file, synced to disk under the (temporary) name it was given;
`child.Reporter.checkpoint` then renames it. The safetensors library writes metadata in random order, which would give the
same LoRA another hash each time, so the few lines of the format are written here.
"""

from __future__ import annotations

import errno
import hashlib
import os
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ... import json_text
from ...errors import InvalidInput, StorageError
from ...files import Tree
from ...models.lora_facts import read_lora_facts
from ...models.lora_keys import ALPHA
from ...reasons import reason_of

FORMATS = {"fp16": torch.float16, "bf16": torch.bfloat16, "float": torch.float32}
NAMES = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32"}


def save_lora(
    file: Path, state: dict[str, torch.Tensor], *, dtype: torch.dtype | str, metadata: dict[str, str]
) -> Path:
    """Write `state` to `file` in `dtype` ("fp16", "bf16", "float" as in the settings) and sync it to disk.

    Alphas stay fp32: rounding them would change the strength of every layer. Adds `sshs_model_hash` and
    `sshs_legacy_hash`, by which web UIs know a LoRA whose other metadata was edited.

    Raises:
        OSError: the disk is full or the folder is gone; nothing readable is left at `file` then.
    """
    target = FORMATS[dtype] if isinstance(dtype, str) else dtype
    tensors = {
        key: tensor.detach().to("cpu", torch.float32 if key.endswith(ALPHA) else target).contiguous()
        for key, tensor in state.items()
    }
    # the library's order, on which sshs_model_hash depends: widest format first, then by name
    ordered = sorted(tensors, key=lambda key: (-tensors[key].element_size(), key))
    entries, data = _laid_out(ordered, tensors)
    metadata = {**metadata, **_kohya_hashes(entries, data, metadata)}
    if not file.parent.is_dir():  # a run whose folder was taken away must not make another in its place
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file.parent))
    files, part = Tree(file.parent), file.with_name(file.name + ".part")
    try:
        with files.create(part) as stream:
            stream.write(_header(entries, metadata))
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        files.move(part, file)
    finally:
        with suppress(OSError):
            files.remove(part)
    return file


def _laid_out(
    ordered: list[str], tensors: dict[str, torch.Tensor]
) -> tuple[dict[str, dict[str, object]], bytes]:
    """Header entries and the bytes that they describe."""
    entries: dict[str, dict[str, object]] = {}
    pieces, begin = [], 0
    for key in ordered:
        tensor = tensors[key]
        piece = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
        entries[key] = {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, begin + len(piece)],
        }
        pieces.append(piece)
        begin += len(piece)
    return entries, b"".join(pieces)


def _header(entries: dict[str, dict[str, object]], metadata: dict[str, str]) -> bytes:
    """Length and JSON of the header, padded so that the data begins at a multiple of 8 bytes."""
    whole = {"__metadata__": dict(sorted(metadata.items())), **entries} if metadata else entries
    text = json_text.write(whole, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _kohya_hashes(
    entries: dict[str, dict[str, object]], data: bytes, metadata: dict[str, str]
) -> dict[str, str]:
    """The hashes that sd-scripts stores (library/train_util.py, `precalculate_safetensors_hashes`).

    `sshs_model_hash` is SHA-256 over the tensor bytes; the legacy one the first 8 digits of SHA-256 over the 64 KiB at
    1 MiB of the file as it would be with only the `ss_` metadata.
    """
    header = _header(entries, {key: value for key, value in metadata.items() if key.startswith("ss_")})
    begin, end = 0x100000 - len(header), 0x110000 - len(header)
    window = header[0x100000:0x110000] + data[max(0, begin) : max(0, end)]
    return {
        "sshs_model_hash": hashlib.sha256(data).hexdigest(),
        "sshs_legacy_hash": hashlib.sha256(window).hexdigest()[:8],
    }


def read_lora(file: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """`(tensors, metadata)` of a LoRA file. Raises NotFound, InvalidInput, StorageError."""
    facts = read_lora_facts(file)
    try:
        return load_file(file), facts.metadata
    except SafetensorError as error:
        raise InvalidInput(
            f"{file.name} can't be read: {reason_of(error)}.", "Choose another LoRA."
        ) from None
    except OSError as error:
        raise StorageError(
            f"{file.name} can't be read: {reason_of(error)}.", "Check the disk and the file."
        ) from None
