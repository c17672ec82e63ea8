"""Pictures and captions as the model sees them, each encoded once and found again on disk.

In: items and captions. Out: `Sources` for the batches. What is in the cache already is not made again, and a part of the
base model whose entries are all there is not even loaded: a second run on the same pictures starts at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...settings import TrainingSettings
from .batches import pixels
from .cache import TensorCache, cache_key, part_digest
from .data import Item

Use = tuple[Item, bool]  # item, mirrored
Loader = Callable[[set[str]], Any]
DECODERS = 2  # threads that decode pictures ahead; a large PNG takes longer than its encoding on a GPU


@dataclass(frozen=True)
class Keys:
    """What entries are called. `part` gives the digest of the base model's "vae" or "text" weights."""

    settings: TrainingSettings
    part: Callable[[str], str]

    def latents(self, use: Use) -> str:
        item, flipped = use
        return cache_key(
            "latents",
            picture=item.sha256,
            resized=item.placement.resized,
            bucket=item.placement.bucket,
            flipped=flipped,
            vae=self.part("vae"),
        )

    def text(self, caption: str) -> str:
        return cache_key(
            "text",
            caption=caption,
            encoders=self.part("text"),
            clip_skip=self.settings.clip_skip,
            max_token_length=self.settings.max_token_length,
        )


def make_keys(settings: TrainingSettings, *, base_file: Path, base_sha256: str, cache_dir: Path) -> Keys:
    digests: dict[str, str] = {}

    def part(name: str) -> str:
        if name not in digests:
            digests[name] = part_digest(base_file, name, base_sha256=base_sha256, cache_dir=cache_dir)
        return digests[name]

    return Keys(settings, part)


class Encodings:
    """Cached latents and text outputs, memory-mapped. `fill` makes what is missing; the rest is looking up."""

    def __init__(self, cache: TensorCache, keys: Keys):
        self.cache, self.keys = cache, keys
        self._latents: dict[tuple[str, bool], torch.Tensor] = {}
        self._texts: dict[str, tuple[torch.Tensor, torch.Tensor | None]] = {}

    def fill(
        self, uses: Iterable[Use], captions: Iterable[str], *, load: Loader, told: Callable[[int, int], None]
    ) -> None:
        """Have all these latents and text outputs at hand. `load` gives the parts of the base model that are needed for
        it; `told` hears (done, total) before each entry that must be made."""
        missing_uses = [use for use in dict.fromkeys(uses) if not self._take_latents(use)]
        missing_captions = [caption for caption in dict.fromkeys(captions) if not self._take_text(caption)]
        parts = {name for name, missing in (("vae", missing_uses), ("text", missing_captions)) if missing}
        if not parts:
            return
        base, done, total = load(parts), 0, len(missing_uses) + len(missing_captions)
        for use, pixels_3HW in zip(missing_uses, pixels_ahead(missing_uses), strict=True):
            told(done, total)
            self.cache.write(self.keys.latents(use), {"latents": encode(base.vae, pixels_3HW)})
            self._take_latents(use)
            done += 1
        for caption in missing_captions:
            told(done, total)
            self.cache.write(self.keys.text(caption), self._encode_text(base.text, caption))
            self._take_text(caption)
            done += 1
        told(total, total)

    def latents(self, item: Item, flipped: bool) -> torch.Tensor:
        """(C, H, W) fp32, memory-mapped."""
        return self._latents[item.name, flipped]

    def text(self, caption: str) -> tuple[torch.Tensor, torch.Tensor | None]:
        """((T, D), (P,) or None) fp32, memory-mapped."""
        return self._texts[caption]

    def _take_latents(self, use: Use) -> bool:
        entry = self.cache.read(self.keys.latents(use))
        if entry is not None:
            self._latents[use[0].name, use[1]] = entry["latents"]
        return entry is not None

    def _take_text(self, caption: str) -> bool:
        entry = self.cache.read(self.keys.text(caption))
        if entry is not None:
            self._texts[caption] = entry["hidden"], entry.get("pooled")
        return entry is not None

    def _encode_text(self, text: Any, caption: str) -> dict[str, torch.Tensor]:
        settings = self.keys.settings
        with torch.no_grad():
            encoded = text.encode(text.tokenize([caption], settings.max_token_length), settings.clip_skip)
        found = {"hidden": encoded.hidden[0].float()}
        if encoded.pooled is not None:
            found["pooled"] = encoded.pooled[0].float()
        return found


def encode(vae: Any, pixels_3HW: torch.Tensor) -> torch.Tensor:
    """Scaled latents (C, H, W) in fp32 of one picture. One at a time: in a batch, the last bit depends on the others."""
    latents: torch.Tensor = vae.encode(pixels_3HW[None])[0]
    return latents


def pixels_ahead(uses: Sequence[Use]) -> Iterator[torch.Tensor]:
    """The pictures as the VAE takes them, decoded by a few threads while the one before is encoded."""
    with ThreadPoolExecutor(DECODERS, thread_name_prefix="pictures") as threads:
        waiting: deque[Future[torch.Tensor]] = deque()
        for item, flipped in uses:
            waiting.append(threads.submit(pixels, item, flipped=flipped))
            if len(waiting) > DECODERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
