"""What a base model is: its family, what it predicts and how it is built, read without loading it.

In: a diffusion model or a whole checkpoint as ComfyUI lists it (.safetensors), or a diffusers folder. Out: `BaseModel`, or an
error that says what the file is instead (a LoRA, a VAE, a video model, a pickle, a broken download). It reads the header only;
torch is not needed, so the desk can ask before anything is spent. Which marks a family bears stands in `architectures`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..architectures import ANY_OTHER, ARCHITECTURES, recognise
from ..architectures.base import Architecture, Shapes
from ..architectures.relatives import Relative, relative
from ..errors import BridgeError, InvalidInput
from .model_folders import inspect_folder
from .other_files import name_other_file, refuse_gguf
from .safetensors_header import SafetensorsHeader, read_header
from .unet_shape import UNetShape, read_unet_shape

UNET_PREFIX = "model.diffusion_model."
PREFIXES = (UNET_PREFIX, "diffusion_model.", "net.", "model.", "transformer.", "")
"""What may stand before the names of a diffusion model's tensors: in checkpoints, in what ComfyUI and others save of them."""
VAE_PREFIX = "first_stage_model."
_PARTS = {each.name: each.parts for each in ARCHITECTURES.values() if each.parts}
CLIP_L_PREFIXES = {name: parts["text encoder"] for name, parts in _PARTS.items()}
CLIP_G_PREFIX = next(each["second text encoder"] for each in _PARTS.values() if len(each) > 2)
_INSIDE = (("text_encoders.", "vae."), ("text_encoders.", VAE_PREFIX))
"""Prefixes of the other parts in a whole checkpoint of a newer family, as ComfyUI saves it."""


@dataclass(frozen=True)
class BaseModel:
    """What was found in a base model."""

    file: Path
    family: str
    """A name of `architectures.ARCHITECTURES`."""
    prediction_type: str
    """"epsilon" or "v_prediction"; "flow" for a family of flow models."""
    zero_terminal_snr: bool
    """Whether the model was trained with a schedule that ends in pure noise."""
    unet: UNetShape | None
    """None for diffusers folders, which bring their own configuration, and for what is no U-Net."""
    prediction_is_stated: bool = False
    """Whether the file says what it predicts; otherwise epsilon is assumed."""
    title: str = ""
    """What the model is, in words, where its family stands for several."""
    whole: bool = True
    """Whether text encoders and VAE are inside."""

    @property
    def is_folder(self) -> bool:
        return self.unet is None and self.file is not None and self.file.is_dir()


def inspect_base_model(file: Path) -> BaseModel:
    """Family, prediction type and shape of the base model in `file` (or diffusers folder).

    Raises:
        NotFound: there is nothing of that name.
        InvalidInput: it is no image model that can be trained, or lacks a part that training needs.
    """
    file = Path(file)
    if file.is_dir():
        return BaseModel(file, *inspect_folder(file))
    refuse_gguf(file)
    header = read_header(file)
    found, shapes = look(header)
    if found is None:
        raise _not_known(header)
    if isinstance(found, Relative):
        return _of_relative(header, found)
    if not found.flow:
        return _with_unet(header, found, shapes)
    return BaseModel(file, found.name, "flow", False, None, True, found.title, is_whole(header))


def look(header: SafetensorsHeader) -> tuple[Architecture | Relative | None, Shapes]:
    """What diffusion model lies in a file, if any, and its tensors' shapes without prefix."""
    for prefix in PREFIXES:
        shapes = header.shapes(prefix)
        if shapes:
            # Marker tensors such as `edm_mean` stand beside the model.
            seen = {name: info.shape for name, info in header.tensors.items() if "." not in name} | shapes
            found = relative(seen, header.file.name) or recognise(shapes, header.file.name)
            if found:
                return found, shapes
    return None, {}


def is_whole(header: SafetensorsHeader) -> bool:
    """Whether text encoders and VAE lie in the file beside the diffusion model of a newer family."""
    return any(all(header.shapes(prefix) for prefix in prefixes) for prefixes in _INSIDE)


def is_whole_checkpoint(file: Path) -> bool:
    """The same of a file; False for a folder, or one that can't be read."""
    try:
        return is_whole(read_header(file))
    except BridgeError:
        return False


def has_text_encoders(file: Path) -> bool:
    """Whether a checkpoint of a newer family has text encoders inside; False for a folder, or one that can't be read."""
    try:
        header = read_header(file)
    except BridgeError:
        return False
    return any(bool(header.shapes(prefixes[0])) for prefixes in _INSIDE)


def _with_unet(header: SafetensorsHeader, found: Architecture, shapes: Shapes) -> BaseModel:
    unet = read_unet_shape(shapes)
    if unet.context_dim is None:
        raise _refused(header, "a model that does not attend to text")
    if unet.in_channels != 4 or unet.out_channels != 4:
        raise _refused(header, f"a model with {unet.in_channels} input channels")
    missing = [part for part, prefix in found.parts.items() if not header.shapes(prefix)]
    if missing:
        raise InvalidInput(
            f"{header.file.name} has no {' and no '.join(missing)} inside.",
            "Training needs them: choose a complete checkpoint (in ComfyUI, Save Checkpoint makes one).",
        )
    prediction, stated = _prediction_of(header)
    ztsnr = "ztsnr" in header.tensors
    return BaseModel(header.file, found.name, prediction, ztsnr, unet, stated, found.title)


def _prediction_of(header: SafetensorsHeader) -> tuple[str, bool]:
    """What the model predicts and whether the file says so: marker tensor `v_pred`, or modelspec metadata."""
    if "v_pred" in header.tensors:
        return "v_prediction", True
    stated = header.metadata.get("modelspec.prediction_type", "").strip().lower()
    if stated in ("v", "v_prediction", "v-prediction"):
        return "v_prediction", True
    return "epsilon", stated == "epsilon"


def _of_relative(header: SafetensorsHeader, found: Relative) -> BaseModel:
    """A model without a file of its own: tried as any other, if ComfyUI draws pictures with it from a prompt."""
    if found.medium != "image" or not found.drawn or _is_unet(found):
        raise _refused(header, found.title, found.medium)
    return BaseModel(header.file, ANY_OTHER.name, "flow", False, None, False, found.title, is_whole(header))


def _is_unet(found: Relative) -> bool:
    return "input_blocks." in found.marks.having


def _refused(header: SafetensorsHeader, what: str, medium: str = "image") -> InvalidInput:
    made = {
        "edit": " It changes a picture that it is given.",
        "video": " It makes videos.",
        "sound": " It makes sound.",
        "shape": " It makes 3D shapes.",
    }.get(medium, "")
    titles = [each.title for each in ARCHITECTURES.values() if not each.untried]
    return InvalidInput(
        f"{header.file.name} is {what}, which can't be trained here.{made}",
        f"Choose a model of one of these families: {', '.join(titles)}.",
    )


def _not_known(header: SafetensorsHeader) -> InvalidInput:
    return InvalidInput(
        f"{header.file.name} is {name_other_file(header)}, not a base model.",
        "Choose a checkpoint or a diffusion model that ComfyUI loads. If ComfyUI draws pictures with this file, "
        f"set family to {ANY_OTHER.name} to try it.",
    )
