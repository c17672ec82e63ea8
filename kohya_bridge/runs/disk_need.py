"""How much a run will write, and whether the disk has it.

In: a plan and a folder. Out: an upper bound in bytes, and an obstacle if it does not fit: a disk that fills up in mid-run
costs more than a refusal.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ..architectures import architecture
from ..engines.contract import Problem
from ..plan import TrainingPlan

_STATE_FACTOR = 6  # a state holds fp32 weights and two Adam moments, a checkpoint half-precision weights
_BYTES_PER_LATENT = 4


def needed_bytes(plan: TrainingPlan) -> int:
    """An upper bound of what a run writes: checkpoints, the kept states and the one being written, cached latents."""
    numbers = plan.settings
    rank = numbers.network_dim + numbers.conv_dim
    trained = 1.0 if numbers.network_train_unet_only else 1.4
    of_family = architecture(plan.base_model.family)
    lora = of_family.estimates.lora_mb_per_rank * 1e6 * rank * trained
    lora *= 2 if numbers.save_precision == "float" else 1
    every = numbers.save_every_n_steps or numbers.max_train_steps
    checkpoints = -(-numbers.max_train_steps // every) + 1
    states = (numbers.save_last_n_states + 1) * _STATE_FACTOR if numbers.save_state else 0
    a_picture = (
        (numbers.resolution / of_family.latent_stride) ** 2 * of_family.latent_channels * _BYTES_PER_LATENT
    )
    latents = plan.dataset.images * a_picture if numbers.cache_latents else 0
    return int(lora * (checkpoints + states) + latents)


def disk_problems(plan: TrainingPlan, root: Path, *, least_free_bytes: int) -> list[Problem]:
    """The obstacle that too little room below `root` is; `least_free_bytes` must stay free afterwards."""
    existing = next(each for each in (root, *root.parents) if each.exists())
    free, needed = shutil.disk_usage(existing).free, needed_bytes(plan)
    if free >= needed + least_free_bytes:
        return []
    return [
        Problem(
            "disk_space",
            f"The run may write {_size(needed)}, and {_size(free)} are free in {root}; "
            f"{_size(least_free_bytes)} are kept in reserve.",
            "Free space, delete old runs, save less often, or lower save_last_n_states or network_dim.",
        )
    ]


def _size(count: int) -> str:
    """Such as `3.2 GB`; below one, in MB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
