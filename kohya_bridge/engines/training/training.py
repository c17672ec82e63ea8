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

import torch

from ...device.accelerator import Accelerator
from ...models.lora_metadata import TrainingFacts
from ...plan import TrainingPlan
from ...settings import TrainingSettings
from ..off_device import OffDevice
from .batches import Batch, BatchMaker, pixels
from .conditioning import Conditioning, answers
from .data import Item, Split
from .encoding import Encodings, encode
from .held_out import HeldOut
from .model import Encoders, TrainableModel
from .objective import Objective, loss_B
from .ranks import Ranks
from .state import Trained


@dataclass
class Training:
    """One run, ready to step."""

    plan: TrainingPlan
    model: TrainableModel
    """The loaded base model, with the encoders that every step needs."""
    trained: Trained
    objective: Objective
    split: Split
    maker: BatchMaker
    held_out: HeldOut | None
    encodings: Encodings
    load_encoders: Callable[[set[str]], Encoders]
    """Loads encoders that no step needs: `load_encoders({"vae"})`."""
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
        clean_BCHW = batch.clean_BCHW
        if clean_BCHW is None:
            assert batch.pixels_BCHW is not None
            clean_BCHW = self.model.encoders.latents(batch.pixels_BCHW)
        noise_BCHW, times_B = batch.noise_BCHW, batch.times_B
        noisy_BCHW = self.objective.noisy(clean_BCHW, noise_BCHW, times_B)
        target_BCHW = self.objective.target(clean_BCHW, noise_BCHW, times_B)
        if batch.preserved_B is not None:
            return self._preserving_loss(batch, noisy_BCHW, target_BCHW, batch.preserved_B)
        said_BCHW = answers(self.model, noisy_BCHW, times_B, self._conditioning(batch), batch.time_ids_B6)
        return self.objective.weighted(loss_B(said_BCHW, target_BCHW), times_B)

    def _preserving_loss(
        self, batch: Batch, noisy_BCHW: torch.Tensor, target_BCHW: torch.Tensor, preserved_B: torch.Tensor
    ) -> torch.Tensor:
        """The loss, plus how far the LoRA has moved the answers to captions without the trigger.

        Differential output preservation (ostris/ai-toolkit): the target of those is what the base model says itself.
        """
        model, count, times_B, sizes_B6 = self.model, len(noisy_BCHW), batch.times_B, batch.time_ids_B6
        with torch.no_grad(), self.trained.network.silent():
            plain = self._conditioning(batch).last(count)
            base_BCHW = answers(model, noisy_BCHW, times_B, plain, sizes_B6)
        twice = torch.cat([noisy_BCHW, noisy_BCHW])
        said_2BCHW = answers(
            model, twice, times_B.repeat(2), self._conditioning(batch), sizes_B6.repeat(2, 1)
        )
        said_BCHW, plain_BCHW = said_2BCHW[:count], said_2BCHW[count:]
        moved_B = loss_B(plain_BCHW, base_BCHW) * preserved_B
        both_B = loss_B(said_BCHW, target_BCHW)
        both_B = both_B + self.settings.diff_output_preservation_multiplier * moved_B
        return self.objective.weighted(both_B, times_B)

    def _conditioning(self, batch: Batch) -> Conditioning:
        if batch.conditioning is not None:
            return batch.conditioning
        with torch.set_grad_enabled(not self.settings.network_train_unet_only):
            return Conditioning.whole(self.model.encoders.conditions(batch.tokens))

    def condition(self, caption: str) -> Conditioning:
        """What the text encoders say of a caption now."""
        if self.maker.sources.text is not None:
            return Conditioning.of([self.encodings.text(caption)]).mapped(lambda each: each.to(self.device))
        encoders = self.model.encoders
        with torch.no_grad():
            return Conditioning.whole(encoders.conditions(encoders.tokens([caption])))

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Without dropout, for as long as the block lasts."""
        adapters = [module.adapter for module in self.trained.network.modules]
        models = [*self.model.modules(), *adapters]
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

        What stays is the driver's own context, and tables of a few kilobytes.
        """
        trained, device = self.trained, self.device
        others = OffDevice([*self.model.modules(), *self.model.encoders.modules()], trained.optimiser.inner)

        def release() -> None:
            for part in trained.network.parts.values():
                part.withdraw()
            trained.weights.move(torch.device("cpu"))
            others.release()
            Accelerator.of(torch, device).empty_cache()

        def restore() -> None:
            trained.weights.move(device)
            others.restore()

        return release, restore

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
        return encode(self.model.encoders, pixels(item))
