"""Weights & Biases, for those who use it: switched on by the environment alone.

In: the run's events. Out: their numbers in the W&B project that `WANDB_PROJECT` names. Without that variable nothing is
imported. The key stays where wandb itself looks for it (`WANDB_API_KEY` or its login file): it is no input of a node, a
config or a plan, and no file or log of ours ever holds it.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from .tensorboard_log import scalars_of

PROJECT_VARIABLE = "WANDB_PROJECT"


def wandb_problem() -> str:
    """Why W&B was asked for and can't be used, empty otherwise."""
    if wanted() and importlib.util.find_spec("wandb") is None:
        return f"{PROJECT_VARIABLE} is set, but the package wandb is not installed."
    return ""


def wanted() -> bool:
    return bool(os.environ.get(PROJECT_VARIABLE))


class WandbLog:
    """One W&B run for each run of ours, resumed with it."""

    def __init__(self, run_dir: Path, *, config: dict[str, Any]):
        import wandb

        run_dir = Path(run_dir)
        self._run = wandb.init(
            project=os.environ[PROJECT_VARIABLE],
            id=run_dir.name,
            name=f"{run_dir.parent.name}-{run_dir.name}",
            resume="allow",
            dir=str(run_dir),
            config=config,
            settings=wandb.Settings(silent=True, disable_git=True, disable_code=True, x_disable_stats=True),
        )

    def take(self, event: dict[str, Any]) -> None:
        """Pass on the numbers of an event."""
        scalars = dict(scalars_of(event))
        if scalars:
            self._run.log({"step": event["step"], **scalars})
        if event["kind"] == "run_finished":
            self._run.finish(exit_code=0 if event["outcome"] != "failed" else 1)
