"""A run that is ready to step: the model with its LoRA, and what is needed to compute and to measure.

In: what `prepare.py` loaded and built. Out: the loss of a micro-batch, and answers about the run. It knows no files of
the run folder and reports nothing.

Shapes: B batch, C latent channels, H and W latent height and width, T tokens, D text width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from ...models.lora_metadata import TrainingFacts
from ...plan import TrainingPlan
from ...settings import TrainingSettings
from ..native.diffusers_side.denoiser import Conditioning, Denoiser
from ..off_device import OffDevice, empty_cache
from .batches import Batch, BatchMaker, pixels
from .data import Item, Split
from .encoding import Encodings, encode
from .held_out import HeldOut
from .objective import Objective
from .ranks import Ranks
from .state import Trained


@dataclass
class Training:
    """One run, ready to step."""

    plan: TrainingPlan
    base: Any
    """The loaded base model: `.unet`, and `.vae` and `.text` where they are needed at every step."""
    trained: Trained
    objective: Objective
    denoise: Denoiser
    split: Split
    maker: BatchMaker
    held_out: HeldOut | None
    encodings: Encodings
    load: Callable[[set[str]], Any]
    """Loads further parts of the base model: `load({"vae"}).vae`."""
    ranks: Ranks
    first_step: int
    """Optimizer steps that are done already."""

    @property
    def settings(self) -> TrainingSettings:
        return self.plan.settings

    @property
    def device(self) -> torch.device:
        return self.ranks.device

    def loss(self, batch: Batch) -> torch.Tensor:
        """The scalar loss of one micro-batch, fp32 on the device."""
        clean_BCHW = (
            batch.clean_BCHW if batch.clean_BCHW is not None else self.base.vae.encode(batch.pixels_BCHW)
        )
        noise_BCHW, timesteps_B = batch.noise_BCHW, batch.timesteps_B
        noisy_BCHW = self.objective.noisy(clean_BCHW, noise_BCHW, timesteps_B)
        target_BCHW = self.objective.target(clean_BCHW, noise_BCHW, timesteps_B)
        if batch.preserved_B is not None:
            return self._preserving_loss(batch, noisy_BCHW, target_BCHW, batch.preserved_B)
        said_BCHW = self.denoise(noisy_BCHW, timesteps_B, self._conditioning(batch), batch.time_ids_B6)
        return self.objective.weighted(self.objective.loss_B(said_BCHW, target_BCHW), timesteps_B)

    def _preserving_loss(
        self, batch: Batch, noisy_BCHW: torch.Tensor, target_BCHW: torch.Tensor, preserved_B: torch.Tensor
    ) -> torch.Tensor:
        """The loss, plus how far the LoRA has moved the answers to captions without the trigger.

        Differential output preservation (ostris/ai-toolkit): the target of those is what the base model says itself.
        """
        count, timesteps_B, sizes_B6 = len(noisy_BCHW), batch.timesteps_B, batch.time_ids_B6
        with torch.no_grad(), self.trained.network.silent():
            base_BCHW = self.denoise(noisy_BCHW, timesteps_B, self._conditioning(batch).last(count), sizes_B6)
        said_2BCHW = self.denoise(
            noisy_BCHW.repeat(2, 1, 1, 1),
            timesteps_B.repeat(2),
            self._conditioning(batch),
            sizes_B6.repeat(2, 1),
        )
        said_BCHW, plain_BCHW = said_2BCHW[:count], said_2BCHW[count:]
        moved_B = self.objective.loss_B(plain_BCHW, base_BCHW) * preserved_B
        loss_B = self.objective.loss_B(said_BCHW, target_BCHW)
        loss_B = loss_B + self.settings.diff_output_preservation_multiplier * moved_B
        return self.objective.weighted(loss_B, timesteps_B)

    def _conditioning(self, batch: Batch) -> Conditioning:
        if batch.hidden_BTD is not None:
            return Conditioning(batch.hidden_BTD, batch.pooled_BP)
        with torch.set_grad_enabled(not self.settings.network_train_unet_only):
            encoded = self.base.text.encode(batch.tokens, self.settings.clip_skip)
        return Conditioning(encoded.hidden, encoded.pooled)

    def condition(self, caption: str) -> Conditioning:
        """What the text encoders say of a caption now, (1, T, D)."""
        if self.maker.sources.text is not None:
            hidden, pooled = self.encodings.text(caption)
            return Conditioning(hidden[None], None if pooled is None else pooled[None]).to(
                self.device, self.denoise.dtype
            )
        with torch.no_grad():
            text, settings = self.base.text, self.settings
            encoded = text.encode(text.tokenize([caption], settings.max_token_length), settings.clip_skip)
        return Conditioning(encoded.hidden, encoded.pooled)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Without dropout, for as long as the block lasts."""
        models = self._denoising_models()
        before = [model.training for model in models]
        for model in models:
            model.eval()
        try:
            yield
        finally:
            for model, was_training in zip(models, before, strict=True):
                model.train(was_training)

    def off_device(self) -> tuple[Callable[[], None], Callable[[], None]]:
        """`(release, restore)`: everything that the run keeps on the device to main memory, and back, bit for bit.

        What stays is CUDA's own context, and tables of a few kilobytes.
        """
        trained, device = self.trained, self.device
        vae = [self.base.vae.model] if self.base.vae else []
        others = OffDevice([*self._denoising_models(), *vae], trained.optimiser.inner)

        def release() -> None:
            for part in trained.network.parts.values():
                part.withdraw()
            trained.weights.move(torch.device("cpu"))
            others.release()
            empty_cache()

        def restore() -> None:
            trained.weights.move(device)
            others.restore()

        return release, restore

    def _denoising_models(self) -> list[torch.nn.Module]:
        return [self.base.unet, *(self.base.text.encoders if self.base.text else [])]

    def facts(self, step: int) -> TrainingFacts:
        """What a checkpoint's metadata says beyond the plan. No times: the same training gives the same file."""
        picker, settings = self.maker.picker, self.settings
        micro_batches = settings.gradient_accumulation_steps * self.ranks.world
        tags = Counter(
            tag.strip() for item in self.split.trained for tag in item.caption.split(",") if tag.strip()
        )
        return TrainingFacts(
            step=step,
            epoch=picker.epoch_of(max(0, step * micro_batches - 1)) + 1,
            epochs=picker.epoch_of(settings.max_train_steps * micro_batches - 1) + 1,
            train_images=len(self.split.trained) * settings.num_repeats,
            validation_images=len(self.split.held_out),
            batches_per_epoch=picker.batches_per_epoch,
            processes=self.ranks.world,
            tag_frequency=tags,
            buckets=Counter(item.placement.bucket for item in self.split.trained),
        )

    def clean_latents(self, item: Item) -> torch.Tensor:
        """The latents of a picture, (C, H, W)."""
        if self.settings.cache_latents:
            return self.encodings.latents(item, False)
        return encode(self.base.vae, pixels(item))
