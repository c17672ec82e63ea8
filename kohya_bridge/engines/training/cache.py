"""Latents and text-encoder outputs on disk, found again by what they were made from.

In: a key that names everything an entry depends on. Out: its tensors, memory-mapped. An entry can't be stale: other
picture bytes, another bucket, another VAE or another clip_skip is another key. Entries are written whole or not at all,
are never changed, and serve every later run with any settings. Deleting the folder costs only time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ... import json_text
from ...errors import UnusableFile
from ...files import Tree, open_named, read_named

WEIGHTS_BYTES = 64 << 30
FORMAT = 1  # raise it when the way entries are computed changes: old entries are then simply not found


PARTS = {
    "vae": (("first_stage_model.",), ("vae",)),
    "text": (("cond_stage_model.", "conditioner."), ("text_encoder", "text_encoder_2")),
}
"""Which tensors of a single file, or which folders of a diffusers model, belong to a part."""


def cache_key(kind: str, **depends_on: Any) -> str:
    """The name of an entry: SHA-256 over `kind` and everything that its content depends on."""
    identity = json_text.write(
        {"format": FORMAT, "kind": kind, **depends_on}, sort_keys=True, ensure_ascii=True
    )
    return hashlib.sha256(identity.encode("ascii")).hexdigest()


class TensorCache:
    """A folder of entries, two levels deep so that no folder grows long."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.files = Tree(self.folder)

    def file(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"

    def read(self, key: str) -> dict[str, torch.Tensor] | None:
        """The entry's tensors on the CPU, memory-mapped; None if there is none or its file is damaged."""
        try:
            return dict(load_file(self.files.plain(self.file(key))))
        except (FileNotFoundError, UnusableFile, SafetensorError):
            return None

    def write(self, key: str, tensors: Mapping[str, torch.Tensor]) -> None:
        """Add an entry; two processes that add the same one do no harm.

        Raises:
            OSError: the disk is full or read-only; no part of the entry is left behind.
        """
        data = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
        with self.files.writing(self.file(key), durable=False) as stream:
            stream.write(data)


def part_digest(base_file: Path, part: str, *, base_sha256: str, cache_dir: Path) -> str:
    """SHA-256 of the weights of `part` ("vae", "text") in a base model, so that bases with the same VAE share latents.

    The answer is remembered by the base's own digest: a run whose entries are all there need not load that part at all.
    """
    cache, kept = Tree(cache_dir), f"parts/{base_sha256}-{part}.json"
    with suppress(OSError, KeyError, TypeError):
        return str(cache.read_json(kept)["sha256"])
    prefixes, folders = PARTS[part]
    digest = hashlib.sha256()
    if base_file.is_dir():
        for file in sorted(each for folder in folders for each in (base_file / folder).glob("*.safetensors")):
            digest.update(read_named(file, most=WEIGHTS_BYTES))
    else:
        _digest_tensors(base_file, prefixes, digest)
    cache.write(kept, json_text.write({"base": base_file.name, "part": part, "sha256": digest.hexdigest()}))
    return digest.hexdigest()


def _digest_tensors(file: Path, prefixes: tuple[str, ...], digest: Any) -> None:
    with open_named(file) as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json_text.read(stream.read(length))
        for name in sorted(name for name in header if name.startswith(prefixes)):
            start, end = header[name]["data_offsets"]
            digest.update(f"{name} {header[name]['dtype']} {header[name]['shape']}".encode())
            stream.seek(8 + length + start)
            digest.update(stream.read(end - start))
