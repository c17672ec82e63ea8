"""How much a run will write, and whether the disk has it.

In: a plan and a folder. Out: an upper bound in bytes, and an obstacle if it does not fit: a disk that fills up in mid-run
costs more than a refusal.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ..engines.contract import Problem
from ..plan import TrainingPlan

# Bytes of an fp16 LoRA for one unit of rank, U-Net only, measured on full-size models: SD 1.5 at rank 4 4.8 MB with text
# encoder, SDXL at rank 32 228 MB. A state holds fp32 weights and two Adam moments: six times that.
_LORA_BYTES_PER_RANK = {"sd15": 1_200_000, "sdxl": 7_200_000}
_STATE_FACTOR = 6
_LATENT_BYTES_PER_PIXEL = 4 * 4 / 64


def needed_bytes(plan: TrainingPlan) -> int:
    """An upper bound of what a run writes: checkpoints, the kept states and the one being written, cached latents."""
    numbers = plan.settings
    rank = numbers.network_dim + numbers.conv_dim
    trained = 1.0 if numbers.network_train_unet_only else 1.4
    lora = _LORA_BYTES_PER_RANK.get(plan.base_model.family, 10_000_000) * rank * trained
    lora *= 2 if numbers.save_precision == "float" else 1
    every = numbers.save_every_n_steps or numbers.max_train_steps
    checkpoints = -(-numbers.max_train_steps // every) + 1
    states = (numbers.save_last_n_states + 1) * _STATE_FACTOR if numbers.save_state else 0
    latents = (
        plan.dataset.images * numbers.resolution**2 * _LATENT_BYTES_PER_PIXEL if numbers.cache_latents else 0
    )
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
            f"The run may write {_gigabytes(needed)}, and {_gigabytes(free)} are free in {root}; "
            f"{_gigabytes(least_free_bytes)} are kept in reserve.",
            "Free space, delete old runs, save less often, or lower save_last_n_states or network_dim.",
        )
    ]


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
