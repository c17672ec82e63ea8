"""Which side of the engine holds a plan's base model.

In: a plan, its files, a number format and a device. Out: a `ModelSide`, with nothing loaded yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from ...plan import TrainingPlan
from ..training.model import ModelSide
from .diffusers_side.side import DiffusersSide


def open_side(
    plan: TrainingPlan, paths: Mapping[str, Path], dtype: torch.dtype, device: torch.device
) -> ModelSide:
    """The side that knows this family."""
    return DiffusersSide(plan, paths, dtype=dtype, device=device)
