"""Which gradients of this ComfyUI are known to be right, so that a model is checked once and not before every run.

In: the host, a family, a model file, a device. Out: a `Verdict`, remembered for (host version, family, number format, device,
torch), and for a family that stands for many models, of that model's layers. The check runs on a shallow copy of the model in fp32, made of the file's own first blocks, and takes a minute at most;
where the host can't make a shallow one, on the whole model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .... import json_text
from ....architectures.base import Architecture
from ....errors import InvalidInput
from ....files import Tree
from ...child import ChildFailure
from .gradients import Verdict, check_gradients, shortened
from .loading import load_diffusion_model, number_format, read_file
from .model import HostModel
from .opening import Host

FORMAT = 1  # raise it when the check or this side's cures change: what was believed is then checked again
EDGE = 16  # latents


@dataclass(frozen=True)
class Gradients:
    """What there is to know of one model file's gradients on this host."""

    host: Host
    family: Architecture
    file: Path
    device: torch.device

    def known_or_measured(
        self,
        cache_dir: Path,
        latent_shape: tuple[int, ...],
        condition: Mapping[str, torch.Tensor],
        *,
        conditions: Mapping[str, Any],
    ) -> Verdict:
        """The verdict, from memory or by measuring.

        Raises:
            ChildFailure: the gradients are wrong.
        """
        tensors, metadata = read_file(self.file)
        stored = number_format(tensors, metadata)
        cache, kept = Tree(cache_dir), f"gradients/{self._key(stored, tensors)}.json"
        if cache.is_file(kept):
            verdict = Verdict(**cache.read_json(kept)["verdict"])
        else:
            verdict = self._measured(tensors, metadata, _small(latent_shape), condition, conditions)
            told = {"comfyui": self.host.name, "family": self.family.name, "format": stored}
            cache.write(kept, json_text.write({**told, "verdict": verdict.to_json()}, indent=1))
        wrong = verdict.problem(rounded=stored == "quantised")
        if wrong:
            raise ChildFailure(
                f"This ComfyUI version ({self.host.version}) computes wrong gradients for {self.family.title}: {wrong}.",
                "Update ComfyUI and this pack. Training would learn something else than your pictures.",
                code="wrong_gradients",
            )
        return verdict

    def _key(self, stored: str, tensors: Mapping[str, Any]) -> str:
        parts: tuple[Any, ...] = (
            FORMAT,
            self.host.name,
            self.family.name,
            stored,
            self.device.type,
            torch.__version__,
        )
        if self.family.untried:  # it stands for many models, and what is true of one is not of another
            parts += tuple(sorted((name, tuple(each.shape)) for name, each in tensors.items()))
        return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:24]

    def _measured(
        self,
        tensors: Mapping[str, Any],
        metadata: Mapping[str, str] | None,
        latents_CHW: torch.Tensor,
        condition: Mapping[str, torch.Tensor],
        conditions: Mapping[str, Any],
    ) -> Verdict:
        import comfy.model_detection as detection

        prefix = detection.unet_prefix_from_state_dict(tensors)
        shallow = shortened(tensors, prefix)

        def make(of: Mapping[str, Any]) -> HostModel:
            model = load_diffusion_model(dict(of), metadata, dtype=torch.float32, name=self.file.name)
            model.to(self.device)
            return HostModel(
                model,
                dtype=torch.float32,
                device=self.device,
                stride=self.family.latent_stride,
                guidance=1.0,
                conditions=conditions,
            )

        try:
            return check_gradients(lambda: make(shallow), latents_CHW, condition)
        except (InvalidInput, RuntimeError):  # a family whose depth does not follow from its file
            return check_gradients(lambda: make(tensors), latents_CHW, condition)


def _small(latent_shape: tuple[int, ...]) -> torch.Tensor:
    """Random latents of few cells, with the channels (and frames) of these."""
    *before, height, width = latent_shape
    shape = (*before, min(height, EDGE), min(width, EDGE))
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))
