"""Model files into the host's own models, with every complaint of its loaders heard.

In: files as they lie in ComfyUI's folders. Out: a diffusion model in the number format asked for (a quantised one stays as its
file has it), text encoders, a VAE. A weight that is missing, or that the host has no place for, is an error before anything is
trained: a newer quantised file on an older ComfyUI loads as noise, and only its log says so.
"""

from __future__ import annotations

import gc
import importlib
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ....device.accelerator import Accelerator
from ....errors import InvalidInput
from ....reasons import reason_of

FLOAT8 = tuple(getattr(torch, name) for name in ("float8_e4m3fn", "float8_e5m2") if hasattr(torch, name))
QUANTISED = ("scaled_fp8", ".comfy_quant", ".weight_scale", ".scale_weight")
COMPLAINT = re.compile(r"\b(unet|clip|te|vae|text encoder)?\s*(missing|unexpected)\b", re.IGNORECASE)
HARMLESS = re.compile(r"text_projection|logit_scale|position_ids|logvar|scale_input$|^norm_final\.weight$")
"""Weights that exporters leave out or add, and that nothing of a training depends on. `norm_final` is a layer of Lumina's class that no
version ever calls: Z-Image's files lack it and older versions look for it, Lumina's have it and newer versions dropped it."""


def read_file(file: Path) -> tuple[dict[str, Any], Mapping[str, str] | None]:
    """`(tensors mapped from the file, its metadata)`."""
    utils = importlib.import_module("comfy.utils")
    try:
        tensors, metadata = utils.load_torch_file(str(file), safe_load=True, return_metadata=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise InvalidInput(
            f"{file.name} can't be read: {reason_of(error)}.", "Choose another file, or download it again."
        ) from error
    return dict(tensors), metadata


def number_format(tensors: Mapping[str, Any], metadata: Mapping[str, str] | None) -> str:
    """How a diffusion model's weights are stored: `quantised` in a format of the host's, `fp8` without scales, or `plain`."""
    if any(key.endswith(QUANTISED) for key in tensors) or (metadata or {}).get("_quantization_metadata"):
        return "quantised"
    formats = [each.dtype for each in tensors.values() if getattr(each, "ndim", 0) == 2]
    return "fp8" if formats and sum(each in FLOAT8 for each in formats) * 2 > len(formats) else "plain"


def load_diffusion_model(
    tensors: dict[str, Any], metadata: Mapping[str, str] | None, *, dtype: torch.dtype, name: str
) -> Any:
    """The host's `BaseModel`, frozen, in main memory, computing in `dtype`.

    Raises:
        InvalidInput: the host does not know the model, or its weights do not fit.
    """
    sd = importlib.import_module("comfy.sd")
    stored = number_format(tensors, metadata)
    format_of = {"plain": dtype, "quantised": dtype}
    if stored == "fp8":
        format_of["fp8"] = next(each.dtype for each in tensors.values() if each.dtype in FLOAT8)
    options = {"dtype": format_of[stored]}
    with complaints(name):
        patcher = sd.load_diffusion_model_state_dict(
            tensors, model_options=options, **_metadata(sd, metadata)
        )
    if patcher is None:
        raise InvalidInput(
            f"This ComfyUI does not know the model in {name}.", "Update ComfyUI, or choose another file."
        )
    model = patcher.model
    model.manual_cast_dtype = dtype
    model.requires_grad_(False)
    return model


def _metadata(sd: Any, metadata: Mapping[str, str] | None) -> dict[str, Any]:
    names = sd.load_diffusion_model_state_dict.__code__.co_varnames
    return {"metadata": metadata} if "metadata" in names else {}


def load_text_encoders(files: Sequence[Path], kind: str) -> Any:
    """The host's `CLIP` of these files; `kind` is the loader's type, as ComfyUI's node shows it.

    Raises:
        InvalidInput: the host does not know that type (its loaders would take another one in silence), or the weights do not fit.
    """
    sd = importlib.import_module("comfy.sd")
    named = getattr(sd.CLIPType, (kind or "stable_diffusion").upper(), None)
    if named is None and _is_offered(sd, kind):
        named = sd.CLIPType.STABLE_DIFFUSION
    if named is None:
        raise InvalidInput(
            f"This ComfyUI has no text encoders of the type {kind}, which this model needs for its captions.",
            "Update ComfyUI, or choose another model.",
        )
    with complaints(", ".join(file.name for file in files)):
        return sd.load_clip([str(file) for file in files], clip_type=named)


def _is_offered(sd: Any, kind: str) -> bool:
    """Whether the host's own loader node has that type in its list though the host has no name for it: it knows the encoder by its
    tensors then (FLUX.2's Mistral in 0.3.75), and the node hands on the first of its names."""
    nodes = Path(sd.__file__).parents[1] / "nodes.py"
    return nodes.is_file() and f'"{kind}"' in nodes.read_text("utf-8", "replace")


def load_vae(tensors: dict[str, Any], name: str) -> Any:
    """The host's `VAE` in fp32, which encodes a picture in one piece or not at all."""
    sd = importlib.import_module("comfy.sd")
    with complaints(name):
        vae = sd.VAE(sd=tensors, dtype=torch.float32)
        vae.throw_exception_if_invalid()
    for tiled in ("encode_tiled_", "encode_tiled_1d", "encode_tiled_3d", "_encode_tiled_owned"):
        if hasattr(vae, tiled):
            setattr(vae, tiled, _refuse_tiles)
    return vae


def _refuse_tiles(*_: Any, **__: Any) -> Any:
    """Tiles give other latents than the whole picture, and the host takes to them in silence."""
    raise torch.OutOfMemoryError("Memory ran out while a picture was encoded in one piece.")


def let_go() -> None:
    """Free what the host holds on the device. Whoever has references to it drops them first."""
    importlib.import_module("comfy.model_management").unload_all_models()
    gc.collect()
    Accelerator.find(torch).empty_cache()


@contextmanager
def complaints(name: str, *, also: Sequence[str] = ()) -> Iterator[None]:
    """Raise InvalidInput when the host's log tells of weights that are missing, or that it has no place for (or says one of `also`), and
    where weights of another size stop its loaders."""
    heard: list[str] = []
    ear = logging.Handler()
    ear.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(ear)
    root.setLevel(min(level, logging.INFO))
    try:
        yield
    except RuntimeError as error:  # torch's own words for a tensor of another size
        if "loading state_dict" not in str(error):
            raise
        raise _unfit(name, " ".join(str(error).split())) from error
    finally:
        root.removeHandler(ear)
        root.setLevel(level)
    wrong = [each for each in heard if COMPLAINT.search(each) and _matters(each)]
    wrong += [each for each in heard if any(word in each for word in also)]
    if wrong:
        raise _unfit(name, wrong[0])


def _unfit(name: str, said: str) -> InvalidInput:
    return InvalidInput(
        f"The weights of {name} do not fit the model that this ComfyUI makes of them: {said[:240]}",
        "Update ComfyUI, or choose a file in a format that this version knows.",
    )


def _matters(sentence: str) -> bool:
    """Whether any weight that a complaint names is more than a leftover of an exporter."""
    named = re.findall(r"'([^']+)'", sentence)
    return not named or any(not HARMLESS.search(each) for each in named)
