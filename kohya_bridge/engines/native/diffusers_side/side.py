"""SD 1.x and SDXL as the trainer sees them: `training.model`'s protocols over a loaded `Base`.

In: a plan and where its files lie. Out: a `ModelSide`. Encoders that only fill the cache are in fp32: their outputs are made
once and serve runs in any precision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ....architectures import architecture
from ....datasets.buckets import Placement
from ....plan import TrainingPlan
from ....reasons import reason_of
from ....settings import TrainingSettings
from ...child import ChildFailure
from ...training.cache import part_digest
from ...training.model import Adaptable, Condition, Tell
from ...training.objective import DiscreteObjective, make_objective
from .denoiser import denoise
from .models import Base, load_base
from .targets import targets

GUIDANCE = 6.0


class DiffusersSide:
    """See `training.model.ModelSide`."""

    def __init__(
        self, plan: TrainingPlan, paths: Mapping[str, Path], *, dtype: torch.dtype, device: torch.device
    ):
        self.plan, self.paths, self.dtype, self.device = plan, paths, dtype, device
        self._digests: dict[str, str] = {}

    def digest(self, part: str) -> str:
        if part not in self._digests:
            self._digests[part] = part_digest(
                self.paths["base_model_file"],
                part,
                base_sha256=self.plan.base_model.sha256,
                cache_dir=self.paths["cache_dir"],
            )
        return self._digests[part]

    def prove(self, latents_CHW: torch.Tensor, condition: Condition, tell: Tell) -> None:
        """Nothing to show: these models are compared with sd-scripts' and with finite differences in this pack's own tests."""

    def environment(self) -> dict[str, str]:
        return {}

    def load_encoders(self, parts: set[str]) -> DiffusersEncoders:
        return DiffusersEncoders(self._load(parts, torch.float32), self.plan.settings)

    def load_model(self, parts: set[str]) -> DiffusersModel:
        base = self._load({"unet", *parts}, self.dtype)
        return DiffusersModel(base, DiffusersEncoders(base, self.plan.settings))

    def _load(self, parts: set[str], text_dtype: torch.dtype) -> Base:
        return load_base(
            self.paths["base_model_file"],
            family=self.plan.base_model.family,
            dtype=self.dtype,
            device=self.device,
            parts=parts,
            tokenizer_dir=self.paths["tokenizer_dir"],
            text_dtype=text_dtype,
        )


@dataclass(frozen=True)
class DiffusersEncoders:
    """See `training.model.Encoders`."""

    base: Base
    settings: TrainingSettings

    def latents(self, pixels_B3HW: torch.Tensor) -> torch.Tensor:
        assert self.base.vae is not None, "the VAE was not asked for"
        return self.base.vae.encode(pixels_B3HW)

    def pixels(self, latents_BCHW: torch.Tensor) -> torch.Tensor:
        assert self.base.vae is not None, "the VAE was not asked for"
        return self.base.vae.decode(latents_BCHW)

    def tokens(self, captions: Sequence[str]) -> list[torch.Tensor]:
        assert self.base.text is not None, "the text encoders were not asked for"
        return self.base.text.tokenize(captions, self.settings.max_token_length)

    def conditions(self, tokens: Any) -> Condition:
        assert self.base.text is not None, "the text encoders were not asked for"
        encoded = self.base.text.encode(tokens, self.settings.clip_skip)
        pooled = {} if encoded.pooled is None else {"pooled": encoded.pooled}
        return {"hidden": encoded.hidden, **pooled}

    @torch.no_grad()
    def caption(self, caption: str) -> Condition:
        said = self.conditions(self.tokens([caption]))
        return {name: tensor[0].float() for name, tensor in said.items()}

    def modules(self) -> list[torch.nn.Module]:
        vae: list[torch.nn.Module] = [self.base.vae.model] if self.base.vae else []
        return [*vae, *(self.base.text.encoders if self.base.text else [])]


@dataclass(frozen=True)
class DiffusersModel:
    """See `training.model.TrainableModel`."""

    base: Base
    encoders: DiffusersEncoders
    guidance: float = GUIDANCE

    @property
    def dtype(self) -> torch.dtype:
        return self.base.dtype

    def objective(self, settings: TrainingSettings, device: torch.device) -> DiscreteObjective:
        return make_objective(settings, self.base.scheduler_config, device=device)

    def predict(
        self,
        noisy_BCHW: torch.Tensor,
        times_B: torch.Tensor,
        condition: Mapping[str, torch.Tensor],
        sizes_B6: torch.Tensor,
    ) -> torch.Tensor:
        return denoise(self.base.unet, self.dtype, noisy_BCHW, times_B, condition, sizes_B6)

    def targets(self, settings: TrainingSettings) -> dict[str, Adaptable]:
        return targets(self.base, settings)

    def arrange(self, settings: TrainingSettings) -> None:
        unet: Any = self.base.unet
        unet.train()
        encoders = [] if settings.network_train_unet_only else self._text_encoders()
        for encoder in encoders:
            encoder.train()
        if settings.gradient_checkpointing:
            unet.enable_gradient_checkpointing()
            for encoder in encoders:
                encoder.gradient_checkpointing_enable({"use_reentrant": False})
        if settings.attention == "xformers":
            _take_xformers(unet)
        if settings.torch_compile:
            unet.compile_repeated_blocks()

    def latent_shape(self, placement: Placement) -> tuple[int, ...]:
        width, height = placement.bucket
        stride, unet = architecture(self.base.family).latent_stride, self.base.unet
        assert unet is not None
        return unet.config.in_channels, height // stride, width // stride

    def modules(self) -> list[torch.nn.Module]:
        assert self.base.unet is not None
        return [self.base.unet, *self._text_encoders()]

    def _text_encoders(self) -> list[Any]:
        return self.base.text.encoders if self.base.text else []


def _take_xformers(unet: Any) -> None:
    try:
        unet.enable_xformers_memory_efficient_attention()
    except (ImportError, ValueError, NotImplementedError) as error:
        raise ChildFailure(
            f"attention is xformers, which does not work here: {reason_of(error)}.",
            "Set attention to sdpa: it needs nothing and is as fast on most cards.",
            code="xformers",
        ) from error
