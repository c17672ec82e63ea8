"""Weights of a single-file checkpoint, memory-mapped and translated to diffusers and transformers names.

In: a .safetensors checkpoint in LDM or SGM layout. Out: state dicts in the target number format, one tensor at a time, so
that no second copy of the model is ever in memory (with an equal format the tensors are views of the file). Strict: a
tensor of the part that has no place, or a place without a tensor, is an error that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ....errors import InvalidInput, StorageError
from ....models.base_models import CLIP_G_PREFIX, CLIP_L_PREFIXES, UNET_PREFIX, VAE_PREFIX
from ....models.safetensors_header import SafetensorsHeader, read_header
from ....models.unet_shape import UNetShape
from ....reasons import reason_of
from .ldm_keys import open_clip_names, taesd_name, translate, unet_modules, vae_modules, vae_name

State = dict[str, torch.Tensor]
# Buffers that old exporters wrote beside the weights; every loader rebuilds them.
REBUILT = ("embeddings.position_ids", "logit_scale", "text_projection.weight", "text_projection")


class Checkpoint:
    """An open checkpoint. Use as a context: `with open_checkpoint(file) as checkpoint`."""

    def __init__(self, header: SafetensorsHeader, opened: Any, device: torch.device):
        self.header = header
        self.device = device
        self._opened = opened

    def names(self, prefix: str) -> list[str]:
        """Names below `prefix`, without it."""
        return list(self.header.shapes(prefix))

    def tensor(self, name: str, dtype: torch.dtype) -> torch.Tensor:
        """One tensor on the target device; whole numbers keep their format."""
        tensor: torch.Tensor = self._opened.get_tensor(name)
        return tensor.to(self.device, dtype) if tensor.is_floating_point() else tensor.to(self.device)

    def unet_state(self, shape: UNetShape, dtype: torch.dtype) -> State:
        """The U-Net under diffusers names."""
        modules = unet_modules(shape)
        return self._translated(UNET_PREFIX, lambda name: translate(name, modules), dtype)

    def vae_state(self, dtype: torch.dtype) -> State:
        """The AutoencoderKL under diffusers names; its attention's 1x1 convolutions become matrices."""
        modules = vae_modules(self.names(VAE_PREFIX))
        state = self._translated(VAE_PREFIX, lambda name: vae_name(name, modules), dtype)
        for name, tensor in state.items():
            if ".attentions.0.to_" in name and tensor.dim() == 4:
                state[name] = tensor.squeeze(-1).squeeze(-1)
        return state

    def taesd_state(self, dtype: torch.dtype) -> State:
        """The embedded tiny autoencoder under diffusers names, without its scale and shift."""
        return self._translated(VAE_PREFIX, taesd_name, dtype, ignored=("vae_scale", "vae_shift"))

    def number(self, name: str, default: float) -> float:
        """A scalar tensor as a number."""
        return float(self._opened.get_tensor(name)) if name in self.header.tensors else default

    def clip_l_state(self, family: str, dtype: torch.dtype) -> State:
        """CLIP-L under transformers names, always with the `text_model.` level that kohya's names have."""

        def named(name: str) -> str:
            return name if name.startswith("text_model.") else f"text_model.{name}"

        return self._translated(CLIP_L_PREFIXES[family], named, dtype, ignored=REBUILT)

    def clip_g_state(self, dtype: torch.dtype) -> State:
        """The open_clip text encoder under transformers names; fused attention weights are split into q, k and v."""
        state: State = {}
        for name in self.names(CLIP_G_PREFIX):
            if name in ("logit_scale", "attn_mask"):
                continue
            targets = open_clip_names(name)
            if not targets:
                raise _no_place(self.header, CLIP_G_PREFIX + name)
            tensor = self.tensor(CLIP_G_PREFIX + name, dtype)
            if name == "text_projection":  # a bare parameter, applied from the right
                tensor = tensor.T.contiguous()
            state.update(zip(targets, tensor.chunk(len(targets)), strict=True))
        return state

    def _translated(
        self,
        prefix: str,
        translated: Callable[[str], str | None],
        dtype: torch.dtype,
        *,
        ignored: tuple[str, ...] = (),
    ) -> State:
        state: State = {}
        for name in self.names(prefix):
            if ignored and name.endswith(ignored):
                continue
            target = translated(name)
            if target is None:
                raise _no_place(self.header, prefix + name)
            state[target] = self.tensor(prefix + name, dtype)
        return state


@contextmanager
def open_checkpoint(file: Path, *, device: torch.device | str = "cpu") -> Iterator[Checkpoint]:
    """Open a checkpoint for reading its weights.

    Raises:
        InvalidInput, NotFound, StorageError: as `safetensors_header.read_header` does.
    """
    header = read_header(file)
    try:
        with safe_open(file, framework="pt", device="cpu") as opened:
            yield Checkpoint(header, opened, torch.device(device))
    except SafetensorError as error:
        raise InvalidInput(
            f"{file.name} can't be read: {reason_of(error)}.", "Download the model again."
        ) from None
    except OSError as error:
        raise StorageError(
            f"{file.name} can't be read: {reason_of(error)}.", "Check the disk and the file."
        ) from None


def put_weights(model: torch.nn.Module, state: State, *, what: str) -> None:
    """Give `model`, built on the meta device, these tensors as its weights, without copying them.

    Raises:
        InvalidInput: a weight is missing, has no place or has another shape; the first few are named.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    wrong = [f"{name} is missing" for name in wanted.keys() - state.keys()]
    wrong += [f"{name} has no place" for name in state.keys() - wanted.keys()]
    wrong += [
        f"{name} is {tuple(tensor.shape)} instead of {wanted[name]}"
        for name, tensor in state.items()
        if name in wanted and tuple(tensor.shape) != wanted[name]
    ]
    if wrong:
        shown = "; ".join(sorted(wrong)[:3]) + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        raise InvalidInput(
            f"The {what} in this checkpoint does not fit together: {shown}.",
            "The file is damaged or of an unknown layout; download it again or choose another.",
        )
    model.load_state_dict(state, strict=True, assign=True)
    model.requires_grad_(False)


def _no_place(header: SafetensorsHeader, name: str) -> InvalidInput:
    return InvalidInput(
        f"{header.file.name} holds a tensor that no known layout has: {name}.",
        "Use a plain Stable Diffusion 1.x or SDXL checkpoint.",
    )
