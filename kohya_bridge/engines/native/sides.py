"""Which side of the engine holds a plan's base model.

In: a plan, its files, a number format and a device. Out: a `ModelSide`, with nothing loaded yet. Each side's libraries are
imported only where it is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from ...architectures import architecture
from ...plan import TrainingPlan
from ..training.model import ModelSide


def open_side(
    plan: TrainingPlan, paths: Mapping[str, Path], dtype: torch.dtype, device: torch.device
) -> ModelSide:
    """The side that knows this family."""
    if architecture(plan.base_model.family).trainable == "host":
        from .host_side.side import HostSide

        return HostSide(plan.base_model, paths, dtype=dtype, device=device, planned_host=plan.host)
    from .diffusers_side.quick_imports import import_diffusers

    import_diffusers()
    from .diffusers_side.side import DiffusersSide

    return DiffusersSide(plan, paths, dtype=dtype, device=device)
