"""`losses.json`: the loss series of a run, as the events tell it; derived, so it may be deleted and made again.

In: a run folder. Out: one small JSON file for those who plot. Standard library only.
"""

from __future__ import annotations

import json
from pathlib import Path

from ..events import read_events
from ..files import Tree
from ..run_state import fold


def write_losses(run_dir: Path) -> None:
    """Write the series of everything that was told so far. Raises StorageError."""
    state = fold(read_events(run_dir / "events.jsonl"))
    series = {
        "columns": ["step", "loss", "loss_ema", "lr"],
        "losses": state.losses,
        "validations": [{key: row.get(key) for key in ("step", "loss", "psnr")} for row in state.validations],
    }
    Tree(run_dir).write("losses.json", json.dumps(series))
