"""The frozen ends of the base while its U-Net trains: captions to conditioning, pictures to latents and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel

from kohya_bridge.engines.native.diffusers_side.text import chunked, load_tokenizer
from scripts.make_demo_base import Tensors

from .seeded_text import PREFIX, USED_LAYERS, seeded_text
from .train_autoencoder import full_autoencoder, full_state_for, slim_autoencoder

Latents = torch.Tensor


class Words:
    """Captions to hidden states (B, 77, 768) in bf16. Only what does something is run, unless told otherwise."""

    def __init__(
        self, tokenizer_dir: Path, tensors: Tensors | None = None, *, layers: int = USED_LAYERS, skip_mlp: bool = True
    ):  # fmt: skip
        self._tokenizer = load_tokenizer(tokenizer_dir)
        self._model = CLIPTextModel(CLIPTextConfig(num_hidden_layers=layers, vocab_size=49408, hidden_size=768, intermediate_size=3072, num_attention_heads=12))  # fmt: skip
        own = self._model.state_dict()
        # transformers 5 dropped a level of names
        prefix = PREFIX.removesuffix("text_model.") if any(name.startswith("text_model.") for name in own) else PREFIX  # fmt: skip
        named = {name.removeprefix(prefix): each for name, each in (tensors or seeded_text()).items()}
        self._model.load_state_dict(
            {name: torch.from_numpy(named[name]) for name in own if name in named}, strict=False
        )
        self._model.eval().requires_grad_(False)
        for layer in self._model.modules():
            if skip_mlp and type(layer).__name__ == "CLIPMLP":
                layer.forward = torch.zeros_like  # what its weights of zero give, without the work

    @torch.no_grad()
    def __call__(self, captions: Sequence[str]) -> torch.Tensor:
        ids = [
            chunked(
                self._tokenizer(each, add_special_tokens=False, verbose=False).input_ids[:75], 75, pad=49407
            )[0]
            for each in captions
        ]
        hidden: torch.Tensor = self._model(torch.tensor(ids)).last_hidden_state
        return hidden.to(torch.bfloat16)


@torch.no_grad()
def latents_of(pictures: np.ndarray, autoencoder_file: Path, *, side: int) -> Latents:
    """Latents (N, 4, side, side) in bf16 of pictures (N, H, W, 3) uint8, made smaller where the latents are to be."""
    model = slim_autoencoder()
    model.load_state_dict(full_state_for(model, autoencoder_file))
    found = []
    for start in range(0, len(pictures), 50):
        pixels = torch.from_numpy(pictures[start : start + 50]).permute(0, 3, 1, 2).float() / 127.5 - 1
        if pixels.shape[-1] != side * 8:
            pixels = functional.interpolate(pixels, (side * 8, side * 8), mode="area")
        half = pixels.to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
        found.append(model.encode(half).latents)
    return torch.cat(found)


@torch.no_grad()
def decoded(latents: Latents, autoencoder_file: Path) -> np.ndarray:
    """Pictures (N, H, W, 3) uint8 of latents."""
    made = full_autoencoder(autoencoder_file).decode(latents.float()).sample.clamp(-1, 1)
    pixels: np.ndarray = ((made + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    return pixels
