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
        return {"unknown": f"this ComfyUI has no {kind}"}
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
    import torch
    from comfy.quant_ops import QUANT_ALGOS, QuantizedTensor

    name, extra = kind.split()[0], LATER[kind]
    made = QuantizedTensor.from_float(weight, QUANT_ALGOS[name]["comfy_tensor_layout"], **extra)
    said = {"format": name, **({"convrot": True} if extra else {})}
    note = torch.tensor(list(json.dumps(said).encode()), dtype=torch.uint8)
    return {**made.state_dict(f"{layer}.weight"), f"{layer}.comfy_quant": note}, made.dequantize().float()
