"""Resume states: everything that the next step depends on and the plan does not say.

In: the trained weights, the optimiser, the scaler and the step. Out: a folder of safetensors and JSON (no pickle), and
back. There is no random state to keep: what a step draws follows from its number (`randomness.py`). The learning rate,
the data order and the epoch follow from it too. A straight run and one killed and resumed give the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ... import json_text
from ...errors import InvalidInput
from ...files import Tree
from ...reasons import reason_of
from ..child import ChildFailure
from .lora import LoraNetwork
from .optimisers import FlatWeights, Optimiser

VERSION = 1


@dataclass(frozen=True)
class Trained:
    """What a state is taken of and put back into."""

    network: LoraNetwork
    weights: FlatWeights
    optimiser: Optimiser
    scaler: torch.amp.GradScaler
    run_id: str


def write_state(folder: Path, step: int, trained: Trained) -> None:
    """Fill `folder` with the state after optimizer step `step`.

    Raises:
        OSError: the disk is full or read-only.
    """
    tensors, numbers = trained.optimiser.state()
    _write(folder, "lora.safetensors", save(trained.network.state()))
    _write(folder, "optimiser.safetensors", save({"none": torch.zeros(1), **tensors}))
    told = {
        "version": VERSION,
        "run_id": trained.run_id,
        "step": step,
        "optimiser": numbers,
        "scaler": trained.scaler.state_dict(),
    }
    _write(folder, "state.json", json_text.write(told).encode("utf-8"))


def _write(folder: Path, name: str, data: bytes) -> None:
    with Tree(folder).create(name) as stream:
        stream.write(data)


def read_state(folder: Path, trained: Trained) -> int:
    """Put the state back; returns its step.

    Raises:
        ChildFailure: it is damaged, or of another run.
    """
    told = _told(folder)
    if told["run_id"] != trained.run_id or told["version"] != VERSION:
        raise ChildFailure(
            f"The state in {folder.name} is of run {told['run_id']}, this is run {trained.run_id}.",
            "Resume with a state of the same run.",
            code="foreign_state",
        )
    try:
        files = Tree(folder)
        lora = load_file(files.plain("lora.safetensors"))
        tensors = load_file(files.plain("optimiser.safetensors"))
        trained.network.load(lora)
        trained.optimiser.load(tensors, told["optimiser"])
    except (OSError, SafetensorError, KeyError, ValueError, IndexError, InvalidInput) as error:
        raise _damaged(folder, error) from error
    if told["scaler"]:
        trained.scaler.load_state_dict(told["scaler"])
    return int(told["step"])


def _told(folder: Path) -> dict[str, Any]:
    try:
        told: dict[str, Any] = Tree(folder).read_json("state.json")
        if (
            not isinstance(told, dict)
            or not {"run_id", "version", "step", "optimiser", "scaler"} <= told.keys()
        ):
            raise ValueError("state.json is not the record of a state")
        return told
    except (OSError, ValueError) as error:
        raise _damaged(folder, error) from error


def _damaged(folder: Path, error: Exception) -> ChildFailure:
    return ChildFailure(
        f"The state in {folder.name} is damaged: {reason_of(error)}.",
        "Delete that folder and resume: the state before it is used.",
        code="damaged_state",
    )
