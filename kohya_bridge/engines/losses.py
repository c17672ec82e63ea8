"""`losses.json`: the loss series of a run, as the events tell it; derived, so it may be deleted and made again.

In: a run folder. Out: one small JSON file for those who plot. Standard library only.
"""

from __future__ import annotations

from pathlib import Path

from .. import json_text
from ..files import Tree
from ..state_reader import read_state


def write_losses(run_dir: Path) -> None:
    """Write the series of everything that was told so far. Raises StorageError."""
    state = read_state(run_dir / "events.jsonl")
    series = {
        "columns": ["step", "loss", "loss_ema", "lr"],
        "losses": state.losses,
        "validations": [{key: row.get(key) for key in ("step", "loss", "psnr")} for row in state.validations],
    }
    Tree(run_dir).write("losses.json", json_text.write(series))
