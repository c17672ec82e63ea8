"""Validation pictures of a host family without a running ComfyUI: its own loaders, LoRA patching and sampler, as its nodes use them.

In: a job of `validation/renderer.py`. Out: pictures. Text is read as ComfyUI's text node reads it, emphasis included, so a prompt gives here what it
gives in a person's own graph.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ....architectures import architecture
from ....errors import FieldProblem, InvalidInput
from ....plan import BaseModelFacts
from .loading import complaints, let_go, load_diffusion_model, read_file
from .side import HostSide


class HostDrawing:
    """A base model of the host's that draws, with or without a LoRA on it."""

    def __init__(self, job: dict[str, Any], *, dtype: torch.dtype, device: torch.device):
        self.job, self.device = job, device
        facts = BaseModelFacts(name=Path(job["base_model_file"]).name, sha256="0" * 64, family=job["family"])
        paths = {name: Path(place) for name, place in job["files"].items()}
        self.side = HostSide(facts, paths, dtype=dtype, device=device)
        assert self.side.host is not None
        _check_names(job)
        self.said = self._encoded()
        self.vae = self.side.load_encoders({"vae"}).vae
        tensors, metadata = read_file(paths["base_model_file"])
        model = load_diffusion_model(tensors, metadata, dtype=dtype, name=facts.name)
        shift = architecture(job["family"]).drawing.shift
        if shift is not None:
            model.model_sampling.set_parameters(shift=shift, multiplier=model.model_sampling.multiplier)
        patching = importlib.import_module("comfy.model_patcher")
        self.patcher = patching.ModelPatcher(model, load_device=device, offload_device=torch.device("cpu"))
        self.bare = self.patcher

    def _encoded(self) -> dict[str, Any]:
        """Every text of the job once; the encoders are let go before the model is loaded."""
        clip = self.side.load_encoders({"text"}).clip
        texts = {text for each in self.job["renders"] for text in (each["prompt"], each["negative"])}
        with torch.inference_mode():
            said = {text: clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in sorted(texts)}
        del clip
        let_go()
        return said

    @contextmanager
    def wearing(self, file: Path, strength: float) -> Iterator[None]:
        """The model with the LoRA in `file`. Raises InvalidInput where the host has no place for a part of it."""
        sd, utils = importlib.import_module("comfy.sd"), importlib.import_module("comfy.utils")
        with complaints(file.name, also=("not loaded",)):
            state = utils.load_torch_file(str(file), safe_load=True)
            self.patcher, _ = sd.load_lora_for_models(self.bare, None, state, strength, 0)
        try:
            yield
        finally:
            self.patcher = self.bare

    @torch.inference_mode()
    def picture(self, each: dict[str, Any]) -> Image.Image:
        """One picture, as KSampler and VAE Decode make it of an empty latent."""
        job, sample = self.job, importlib.import_module("comfy.sample")
        layout = self.patcher.get_model_object("latent_format")
        stride = int(self.vae.spacial_compression_encode())
        empty = torch.zeros(1, layout.latent_channels, job["height"] // stride, job["width"] // stride)
        latent = sample.fix_empty_latent_channels(self.patcher, empty)
        sampled = sample.sample(
            self.patcher,
            sample.prepare_noise(latent, each["seed"]),
            job["steps"],
            job["cfg"],
            job["sampler"],
            job["scheduler"],
            self.said[each["prompt"]],
            self.said[each["negative"]],
            latent,
            disable_pbar=True,
            seed=each["seed"],
        )
        pixels = self.vae.decode(sampled)
        pixels_HWC = pixels.reshape(-1, *pixels.shape[-3:])[0]  # a VAE of videos has a frame axis
        return Image.fromarray((pixels_HWC.cpu().numpy() * 255.0).clip(0, 255).astype("uint8"))


def _check_names(job: dict[str, Any]) -> None:
    """Raises InvalidInput for a sampler or scheduler that this ComfyUI does not have."""
    known = importlib.import_module("comfy.samplers").KSampler
    problems = [
        FieldProblem(name, job[name], "is not known to this ComfyUI.", f"Use one of {', '.join(names)}.")
        for name, names in (("sampler", known.SAMPLERS), ("scheduler", known.SCHEDULERS))
        if job[name] not in names
    ]
    if problems:
        raise InvalidInput("These pictures can't be rendered:", "Correct these values.", problems=problems)
