"""What the trainer knows of a model: two small protocols, which every model side of the native engine keeps to.

In: nothing. Out: types. A `ModelSide` opens the parts of one base model when they are needed: `Encoders` while pictures and
captions are encoded, a `TrainableModel` for the steps. How they are loaded, and by which library, is theirs.

Shapes: B batch, C latent channels, H and W latent height and width; a family may have a frame axis between C and H.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ...datasets.buckets import Placement
from ...settings import TrainingSettings
from .adapters import Adapter
from .objective import Objective

Tell = Callable[[str, str, str], None]
Condition = dict[str, torch.Tensor]
"""What the text encoders say, by name. Of one caption in a cache entry; with a leading B in a forward pass."""


@dataclass(frozen=True)
class Target:
    """A frozen layer that can be adapted: its name in a LoRA file, and how an adapter comes to stand before it."""

    name: str
    layer: Any
    adapt: Callable[[Any, float], Adapter]
    """(layer, dropout) to the adapter, which is in its place then."""


@dataclass(frozen=True)
class Adaptable:
    """One model (the denoiser, or a text encoder) with its targets; `root` is what is called in each forward pass."""

    root: torch.nn.Module
    targets: Sequence[Target]
    dtype: torch.dtype
    device: torch.device
    down: str
    up: str
    """What follows a target's name in a LoRA file: `.lora_down.weight` and `.lora_up.weight` in kohya's words."""


class Encoders(Protocol):
    """Pictures and captions to what the model takes. Loaded while something is to be encoded, then let go."""

    def latents(self, pixels_B3HW: torch.Tensor) -> torch.Tensor:
        """Pixels in [-1, 1] to the model's own latents (B, C, H, W), fp32."""

    def pixels(self, latents_BCHW: torch.Tensor) -> torch.Tensor:
        """Latents back to pixels (B, 3, H, W) in [-1, 1], fp32."""

    def tokens(self, captions: Sequence[str]) -> Any:
        """What `conditions` takes; cheap, and safe beside a forward pass."""

    def conditions(self, tokens: Any) -> Condition:
        """What the encoders say of the captions, with a leading B."""

    def caption(self, caption: str) -> Condition:
        """What they say of one caption, as it is cached: without B, in the format that serves every precision."""

    def modules(self) -> list[torch.nn.Module]:
        """Those of them that are part of a step."""


class TrainableModel(Protocol):
    """The frozen denoiser that a LoRA is trained on."""

    @property
    def dtype(self) -> torch.dtype:
        """The format that it computes in."""

    @property
    def guidance(self) -> float:
        """Classifier-free guidance of a sample; 1 where the model takes none."""

    @property
    def encoders(self) -> Encoders:
        """The encoders that each step needs; asked for others they raise."""

    def objective(self, settings: TrainingSettings, device: torch.device) -> Objective:
        """What it is trained to say."""

    def predict(
        self,
        noisy_BCHW: torch.Tensor,
        times_B: torch.Tensor,
        condition: Mapping[str, torch.Tensor],
        sizes_B6: torch.Tensor,
    ) -> torch.Tensor:
        """What the model says, shaped as `noisy_BCHW`. Times are the objective's; `sizes_B6` counts for SDXL only."""

    def targets(self, settings: TrainingSettings) -> dict[str, Adaptable]:
        """What is to be adapted, by part: "unet" is the denoiser, any other name a text encoder."""

    def arrange(self, settings: TrainingSettings) -> None:
        """Checkpointing, attention kernel and compilation, as the settings say."""

    def latent_shape(self, placement: Placement) -> tuple[int, ...]:
        """(C, H, W) of a picture's latents."""

    def modules(self) -> list[torch.nn.Module]:
        """Everything of it that lies on the device and has a training mode."""


class ModelSide(Protocol):
    """One base model, not yet loaded."""

    def digest(self, part: str) -> str:
        """What encodings by "vae" or "text" depend on, beside the picture or the caption."""

    def prove(self, latents_CHW: torch.Tensor, condition: Condition, tell: Tell) -> None:
        """Before the model is loaded: that its gradients can be believed, shown on one picture and one caption where that
        is not known. `tell(problem, fix, code)` hears what a person should know. Raises ChildFailure when they are wrong."""

    def environment(self) -> dict[str, str]:
        """What `environment.json` says of this side."""

    def load_encoders(self, parts: set[str]) -> Encoders:
        """Those of "vae" and "text" that are asked for, to fill the cache or to look at a sample."""

    def load_model(self, parts: set[str]) -> TrainableModel:
        """The denoiser, and the encoders of `parts` for every step."""
