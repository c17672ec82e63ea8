"""Weights in a few bits each: whole numbers, a step for each output channel, deflated.

In: named arrays. Out: one `.npz`, and the arrays again, the same on every machine. The step is a fixed share of the channel's
root mean square, so most codes are small and deflate stores them in about log2(4.13 / share) bits, the entropy of a bell curve.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from scripts.make_demo_base import Tensors

LARGEST = 127  # a code fits one signed byte


def pack(file: Path, tensors: Tensors, *, share: float) -> None:
    """Write matrices with steps of `share` of their channel's root mean square, and vectors in fp16."""
    stored: dict[str, Any] = {}
    for name, tensor in tensors.items():
        if tensor.ndim < 2:
            stored[name] = tensor.astype(np.float16)
            continue
        rows = tensor.reshape(len(tensor), -1).astype(np.float32)
        step = np.maximum(np.sqrt(np.square(rows).mean(axis=1)) * share, np.abs(rows).max(axis=1) / LARGEST)
        step = np.maximum(step, np.finfo(np.float16).tiny).astype(np.float16).astype(np.float32)
        codes = np.clip(np.rint(rows / step[:, None]), -LARGEST, LARGEST)
        stored[f"{name}/codes"] = codes.astype(np.int8).reshape(tensor.shape)
        stored[f"{name}/step"] = step.astype(np.float16)
    np.savez_compressed(file, **stored)


def unpack(file: Path) -> Tensors:
    """The arrays of a packed file, fp32."""
    with np.load(file, allow_pickle=False) as stored:
        tensors = {}
        for name in stored.files:
            kind = name.rpartition("/")[2]
            if kind == "codes":
                codes = stored[name].astype(np.float32)
                step = stored[f"{name.removesuffix('codes')}step"].astype(np.float32)
                tensors[name.removesuffix("/codes")] = codes * step.reshape(-1, *[1] * (codes.ndim - 1))
            elif kind != "step":
                tensors[name] = stored[name].astype(np.float32)
    return tensors
