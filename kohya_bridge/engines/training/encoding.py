"""Pictures and captions as the model sees them, each encoded once and found again on disk.

In: items and captions. Out: their latents and conditions. What is in the cache already is not made again, and a part of the
base model whose entries are all there is not even loaded: a second run on the same pictures starts at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch

from ...settings import TrainingSettings
from .batches import pixels
from .cache import TensorCache, cache_key
from .data import Item
from .model import Condition, Encoders

Use = tuple[Item, bool]  # item, mirrored
Loader = Callable[[set[str]], Encoders]
DECODERS = 2  # threads that decode pictures ahead; a large PNG takes longer than its encoding on a GPU


@dataclass(frozen=True)
class Keys:
    """What entries are called. `part` says what those of the "vae" or of the "text" encoders depend on."""

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


class Encodings:
    """Cached latents and text outputs, memory-mapped. `fill` makes what is missing; the rest is looking up."""

    def __init__(self, cache: TensorCache, keys: Keys):
        self.cache, self.keys = cache, keys
        self._latents: dict[tuple[str, bool], torch.Tensor] = {}
        self._texts: dict[str, Condition] = {}

    def fill(
        self, uses: Iterable[Use], captions: Iterable[str], *, load: Loader, told: Callable[[int, int], None]
    ) -> None:
        """Have all these latents and text outputs at hand. `load` gives the part of the base model that is needed, first
        the VAE, then without it the text encoders; `told` hears (done, total) before each entry that must be made."""
        missing_uses = [use for use in dict.fromkeys(uses) if not self._take_latents(use)]
        missing_captions = [caption for caption in dict.fromkeys(captions) if not self._take_text(caption)]
        done, total = 0, len(missing_uses) + len(missing_captions)
        if missing_uses:
            encoders = load({"vae"})
            for use, pixels_3HW in zip(missing_uses, pixels_ahead(missing_uses), strict=True):
                told(done, total)
                self.cache.write(self.keys.latents(use), {"latents": encode(encoders, pixels_3HW)})
                self._take_latents(use)
                done += 1
            del encoders  # gone before the text encoders come
        if missing_captions:
            encoders = load({"text"})
            for caption in missing_captions:
                told(done, total)
                self.cache.write(self.keys.text(caption), encoders.caption(caption))
                self._take_text(caption)
                done += 1
        if total:
            told(total, total)

    def latents(self, item: Item, flipped: bool) -> torch.Tensor:
        """(C, H, W) fp32, memory-mapped."""
        return self._latents[item.name, flipped]

    def text(self, caption: str) -> Condition:
        """What the text encoders say of it, memory-mapped."""
        return self._texts[caption]

    def _take_latents(self, use: Use) -> bool:
        entry = self.cache.read(self.keys.latents(use))
        if entry is not None:
            self._latents[use[0].name, use[1]] = entry["latents"]
        return entry is not None

    def _take_text(self, caption: str) -> bool:
        entry = self.cache.read(self.keys.text(caption))
        if entry is not None:
            self._texts[caption] = entry
        return entry is not None


def encode(encoders: Encoders, pixels_3HW: torch.Tensor) -> torch.Tensor:
    """The model's latents (C, H, W) of one picture. One at a time: in a batch, the last bit depends on the others."""
    return encoders.latents(pixels_3HW[None])[0]


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
