"""Diffusion models in the formats that ComfyUI's quantised files have: scales beside each matrix, and what says so.

In: a reduced family and a kind. Out: a file in that format, and one with the same numbers in fp32. Runs where a host is opened.
"""

from __future__ import annotations

import json
from pathlib import Path

from . import reduced
from .small_files import MARK

OLD = {"scaled fp8": "float8_e4m3fn"}
"""Formats of ComfyUI before comfy_quant, which every version reads."""
LATER = {
    "float8_e4m3fn": {}, "float8_e5m2": {}, "int8_tensorwise": {}, "int8_tensorwise convrot": {"convrot": True, "per_channel": True},
    "nvfp4": {}, "mxfp8": {}, "convrot_w4a4": {}, "asym_w4a8_int8": {},
}  # fmt: skip
"""comfy_quant, by its own names, with what they are made with."""


def write(folder: Path, family: str, kind: str) -> dict:
    """`{"stored": file, "plain": file}`, or `{"unknown": why}` where this host can't make the format."""
    import torch
    from safetensors.torch import save_file

    plain = {k: v.clone().contiguous() for k, v in reduced.make(family).diffusion_model.state_dict().items()}
    stored, exact = dict(plain), dict(plain)
    matrices = {
        k.removesuffix(".weight"): v for k, v in plain.items() if k.endswith(".weight") and v.dim() == 2
    }
    layers = [name for name, each in matrices.items() if kind in OLD or _fits(name, each)]
    if kind in OLD:
        stored["scaled_fp8"] = torch.empty(0, dtype=torch.float8_e4m3fn)
    elif not _knows(kind):
        return {
            "unknown": f"this ComfyUI has no {kind}",
            "stored": _as_a_later_host_stores(folder, plain, layers, kind, family),
        }
    for layer in layers:
        more, exact[f"{layer}.weight"] = (_scaled if kind in OLD else _by_the_host)(
            layer, plain[f"{layer}.weight"], kind
        )
        stored |= more
    files = {}
    for name, state in (("stored", stored), ("plain", exact)):
        files[name] = str(folder / f"{name}.safetensors")
        state = {key: tensor.contiguous().clone() for key, tensor in state.items()}
        save_file(state, files[name], metadata={MARK: family})
    return files


STORED_LATER = {
    "float8_e4m3fn": {"weight": ("float8_e4m3fn", 1), "weight_scale": ("float32", ())},
    "float8_e5m2": {"weight": ("float8_e5m2", 1), "weight_scale": ("float32", ())},
    "int8_tensorwise": {"weight": ("int8", 1), "weight_scale": ("float32", ())},
    "int8_tensorwise convrot": {"weight": ("int8", 1), "weight_scale": ("float32", (None, 1))},
    "nvfp4": {"weight": ("uint8", 2), "weight_scale": ("float8_e4m3fn", 16), "weight_scale_2": ("float32", ())},
    "mxfp8": {"weight": ("float8_e4m3fn", 1), "weight_scale": ("uint8", 32)},
    "convrot_w4a4": {"weight": ("int8", 2), "weight_scale": ("float32", (None,))},
    "asym_w4a8_int8": {
        "weight": ("int8", 2), "weight_codebook": ("float32", (16,)), "weight_s_channel": ("float32", (None,)), "weight_s_rel": ("float8_e4m3fn", 16),
    },
}  # fmt: skip
"""What ComfyUI 0.33's own quantiser writes for a matrix: each tensor's format, and its shape (None: the matrix' height), or by how much its
rows are shorter than the matrix'."""


def _as_a_later_host_stores(folder: Path, plain: dict, layers: list, kind: str, family: str) -> str:
    """A file in a format that this host can't make: its layout, with zeros for numbers."""
    import torch
    from safetensors.torch import save_file

    state = dict(plain)
    for layer in layers:
        height, width = plain[f"{layer}.weight"].shape
        for name, (dtype, shape) in STORED_LATER[kind].items():
            size = (height, width // shape) if isinstance(shape, int) else [each or height for each in shape]
            state[f"{layer}.{name}"] = torch.zeros(size, dtype=getattr(torch, dtype))
        state[f"{layer}.comfy_quant"] = _note(kind)
    save_file(state, folder / "later.safetensors", metadata={MARK: family})
    return str(folder / "later.safetensors")


def _note(kind: str):
    import torch

    said = {"format": kind.split()[0], **({"convrot": True} if LATER[kind] else {})}
    return torch.tensor(list(json.dumps(said).encode()), dtype=torch.uint8)


def _fits(name: str, weight) -> bool:
    """Whether every format can store it: matrices of the blocks with both edges a multiple of 128. The old one scales all."""
    return "layers." in name and not any(edge % 128 for edge in weight.shape)


def _knows(kind: str) -> bool:
    try:
        from comfy.quant_ops import QUANT_ALGOS, QuantizedTensor
    except ImportError:
        return False
    return hasattr(QuantizedTensor, "state_dict") and "comfy_tensor_layout" in QUANT_ALGOS.get(
        kind.split()[0], {}
    )


def _scaled(layer: str, weight, kind: str):
    import torch

    scale = weight.abs().max() / 448.0
    small = (weight / scale).to(torch.float8_e4m3fn)
    return {f"{layer}.weight": small, f"{layer}.scale_weight": scale.reshape(())}, small.float() * scale


def _by_the_host(layer: str, weight, kind: str):
    from comfy.quant_ops import QUANT_ALGOS, QuantizedTensor

    name, extra = kind.split()[0], LATER[kind]
    made = QuantizedTensor.from_float(weight, QUANT_ALGOS[name]["comfy_tensor_layout"], **extra)
    return {
        **made.state_dict(f"{layer}.weight"),
        f"{layer}.comfy_quant": _note(kind),
    }, made.dequantize().float()
