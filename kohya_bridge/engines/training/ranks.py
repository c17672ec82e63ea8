"""Several processes training one LoRA, one per GPU, as `accelerate launch` starts them.

In: the environment that the launcher sets. Out: who speaks, gradients averaged as one flat tensor, and one answer for
all to the requests that lie in the run folder. With one process everything here does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import torch

from ...device.accelerator import Accelerator
from ...device.description import CPU
from ...run_folder import CONTROLS

LONGEST_WAIT = timedelta(days=7)
"""How long the others wait for the first while it caches, measures or is paused."""


@dataclass(frozen=True)
class Ranks:
    """This process's place among `world` processes. Only rank 0 writes events and files."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def speaks(self) -> bool:
        return self.rank == 0

    def average(self, tensor: torch.Tensor) -> None:
        """Replace the tensor (gradient, loss) by its mean over all processes."""
        if self.world > 1:
            torch.distributed.all_reduce(tensor)
            tensor.div_(self.world)

    def agree(self, wanted: set[str], *, among: Sequence[str] = CONTROLS) -> set[str]:
        """What rank 0 wants, on every rank: all must stop, pause and save at the same step."""
        if self.world == 1:
            return wanted
        asked = torch.tensor([float(name in wanted) for name in among], device=self.device)
        torch.distributed.broadcast(asked, src=0)
        return {name for name, is_asked in zip(among, asked.tolist(), strict=True) if is_asked}

    def close(self) -> None:
        if self.world > 1:
            torch.distributed.destroy_process_group()


def join_ranks() -> Ranks:
    """Find this process's device and, when a launcher started several, join the others."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    accelerator = Accelerator.find(torch)
    if world == 1:
        return Ranks(device=torch.device(accelerator.type))
    from accelerate import PartialState  # type: ignore[import-untyped]

    state = PartialState(cpu=not accelerator.is_gpu, timeout=LONGEST_WAIT)
    # "cpu:0" would have weights copied that "cpu" leaves where the file is mapped, and alignment changes the last bit
    device = state.device if accelerator.is_gpu else torch.device(CPU)
    return Ranks(state.process_index, state.num_processes, device)
