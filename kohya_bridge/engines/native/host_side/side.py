"""A plan's base model through the host: which files, loaded when, told apart by what.

In: a plan, the paths of its files, the host's folder. Out: `training.model.ModelSide`. The text encoders are loaded after the
pictures are encoded, and both are gone before the diffusion model is loaded.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ....architectures import architecture
from ....architectures.relatives import Relative
from ....errors import InvalidInput
from ....models.base_models import look
from ....models.places import IMPORTS_KEY
from ....models.safetensors_header import read_header
from ....plan import BaseModelFacts
from ....workspace import file_sha256
from ...training.cache import part_digest
from ...training.model import Condition, Tell, TrainableModel
from .believed import EDGE, Gradients
from .encoders import HostEncoders
from .gradients import Verdict
from .loading import let_go, load_diffusion_model, load_text_encoders, load_vae, read_file
from .model import HostModel
from .opening import Host, open_host

VAE_PREFIXES = ("first_stage_model.", "vae.")
TEXT_PREFIXES = ("text_encoders.", "cond_stage_model.", "conditioner.")


class HostSide:
    """See `training.model.ModelSide`."""

    def __init__(
        self,
        base: BaseModelFacts,
        paths: Mapping[str, Path],
        *,
        dtype: torch.dtype,
        device: torch.device,
        planned_host: str = "",
    ):
        """`planned_host` is the version that the run was planned with."""
        self.base, self.paths, self.dtype, self.device = base, paths, dtype, device
        self.planned_host, self.family = planned_host, architecture(base.family)
        self._host: Host | None = None

    @property
    def host(self) -> Host:
        """The ComfyUI, opened when it is first asked for."""
        if self._host is None:
            imports = str(self.paths.get(IMPORTS_KEY, ""))
            self._host = open_host(
                self.paths["comfyui_dir"], self.device, [each for each in imports.split(os.pathsep) if each]
            )
        return self._host

    @property
    def text_files(self) -> list[Path]:
        """The chosen text encoders in the order of the host's loader; none where the checkpoint holds them."""
        loader = self.family.drawing.text
        return [self.paths[option] for option in loader.files if option in self.paths] if loader else []

    @property
    def vae_file(self) -> Path | None:
        return self.paths.get(self.family.drawing.vae)

    def digest(self, part: str) -> str:
        """The weights of the part, and the version of the host that computes with them."""
        files = self.text_files if part == "text" else [self.vae_file] if self.vae_file else []
        weights = [file_sha256(file, cache_dir=self.paths["cache_dir"]) for file in files] or [
            part_digest(
                self.paths["base_model_file"],
                part,
                base_sha256=self.base.sha256,
                cache_dir=self.paths["cache_dir"],
            )
        ]
        told = "\n".join([*weights, self._loader_type, f"ComfyUI {self.host.name}"])
        return hashlib.sha256(told.encode()).hexdigest()

    @property
    def _loader_type(self) -> str:
        if self._relative:
            return self._relative.text_type
        return self.family.drawing.text.type if self.family.drawing.text else ""

    @cached_property
    def _relative(self) -> Relative | None:
        """What a model of an untried family is, where anything is known of it."""
        found = look(read_header(self.paths["base_model_file"]))[0] if self.family.untried else None
        return found if isinstance(found, Relative) else None

    def environment(self) -> dict[str, str]:
        return {"comfyui": self.host.name}

    def prove(self, latents_CHW: torch.Tensor, condition: Condition, tell: Tell) -> None:
        if self.planned_host and self.planned_host != self.host.name:
            tell(
                f"This run was planned with ComfyUI {self.planned_host}; here is {self.host.name}. Its models may compute "
                "otherwise, so that the result is not bit for bit that of one version.",
                "Submit the training anew if that matters.",
                "host_changed",
            )
        verdict = self.gradients(tuple(latents_CHW.shape), condition)
        if self.family.untried:
            tell(
                f"Nobody has tried {self._relative.title if self._relative else self.family.title} here before. Its gradients were checked: the worst of {verdict.measured} "
                f"gradients is off by {verdict.worst:.1e}.",
                "Look at the first samples and grids with care.",
                "untried_family",
            )

    def gradients(self, latent_shape: tuple[int, ...], condition: Condition) -> Verdict:
        """What is known of the model's gradients, measured where nothing is. Raises ChildFailure when they are wrong."""
        checked = Gradients(self.host, self.family, self.paths["base_model_file"], self.device)
        return checked.known_or_measured(
            self.paths["cache_dir"], latent_shape, condition, conditions=self._conditions()
        )

    def made_up_gradients(self) -> Verdict:
        """The same without a picture: with a caption of this pack's."""
        condition = self.load_encoders({"text"}).caption("a portrait of a person, smiling")
        layout = self._latent_format()
        frames = (1,) if getattr(layout, "latent_dimensions", 2) == 3 else ()
        let_go()
        return self.gradients((layout.latent_channels, *frames, EDGE, EDGE), condition)

    def load_encoders(self, parts: set[str]) -> HostEncoders:
        assert self.host is not None
        let_go()
        wants_vae = "vae" in parts
        return HostEncoders(
            vae=self._vae() if wants_vae else None,
            clip=self._clip() if "text" in parts else None,
            latent_format=self._latent_format() if wants_vae else None,
        )

    def load_model(self, parts: set[str]) -> TrainableModel:
        assert self.host is not None
        let_go()
        tensors, metadata = read_file(self.paths["base_model_file"])
        model = load_diffusion_model(
            tensors, metadata, dtype=self.dtype, name=self.paths["base_model_file"].name
        )
        model.to(self.device)
        return HostModel(
            model,
            dtype=self.dtype,
            device=self.device,
            stride=self.family.latent_stride,
            guidance=self.family.drawing.cfg,
            conditions=self._conditions(),
        )

    def _conditions(self) -> dict[str, Any]:
        """The guidance that a guidance-distilled model is trained with, as sd-scripts' guide for the family says."""
        options = self.family.kohya.options if self.family.kohya else {}
        return {"guidance": float(options["guidance_scale"])} if "guidance_scale" in options else {}

    def _vae(self) -> Any:
        file = self.vae_file or self.paths["base_model_file"]
        tensors, _ = read_file(file)
        inside = tensors if self.vae_file else _below(tensors, VAE_PREFIXES)
        if not inside:
            raise InvalidInput(
                f"{file.name} has no VAE inside.",
                f"{self.family.title} is trained from a checkpoint that has one: choose such a file.",
            )
        return load_vae(inside, file.name)

    def _clip(self) -> Any:
        if self.text_files:
            return load_text_encoders(self.text_files, self._loader_type)
        return _clip_of_checkpoint(self.paths["base_model_file"])

    def _latent_format(self) -> Any:
        """The scale of the model's latents, known from its tensors' names and shapes."""
        import comfy.model_detection as detection

        tensors, metadata = read_file(self.paths["base_model_file"])
        prefix = detection.unet_prefix_from_state_dict(tensors)
        inner = _below(tensors, (prefix,)) or tensors
        named = detection.model_config_from_unet.__code__.co_varnames
        more = {"metadata": metadata} if "metadata" in named else {}
        return detection.model_config_from_unet(inner, "", **more).latent_format


def _below(tensors: Mapping[str, Any], prefixes: tuple[str, ...]) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        for prefix in prefixes
        if name.startswith(prefix)
    }


def _clip_of_checkpoint(file: Path) -> Any:
    import comfy.sd

    _, clip, _, _ = comfy.sd.load_checkpoint_guess_config(
        str(file), output_vae=False, output_clip=True, output_model=False
    )
    return clip
