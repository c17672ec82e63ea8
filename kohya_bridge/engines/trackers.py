"""Who else is told of a run's events while it trains: TensorBoard's files always, Weights & Biases when asked for.

In: every event that the child writes. Out: their files; a tracker that fails is dropped with one notice, since no graph is
worth a training. Standard library only, like everything in the child.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from ..files import Tree
from ..reasons import reason_of
from .tensorboard_log import TensorboardLog
from .wandb_log import WandbLog, wandb_problem, wanted


class Tracker(Protocol):
    """Something that is told of events."""

    def take(self, event: dict[str, Any]) -> None: ...


class Trackers:
    """Passes events on. `complain(problem, fix)` is called once for each tracker that had to be dropped."""

    def __init__(self, run_dir: Path, *, complain: Callable[[str, str], None]):
        self._run_dir = Path(run_dir)
        self._complain = complain
        self._trackers: list[Tracker] = [TensorboardLog(self._run_dir)]

    def take(self, event: dict[str, Any]) -> None:
        """Tell all of them."""
        if event["kind"] == "run_started":
            self._start_wandb()
        for tracker in tuple(self._trackers):
            self._pass_on(tracker, event)

    def _start_wandb(self) -> None:
        problem = wandb_problem()
        if problem:
            self._complain(problem, "Install it, or unset the variable; the run goes on without it.")
        elif wanted():
            try:
                self._trackers.append(WandbLog(self._run_dir, config=self._settings()))
            except Exception as error:  # someone else's network and login: whatever it is, training goes on
                self._complain(
                    f"Weights & Biases could not be started: {reason_of(error)}.",
                    "The run goes on without it.",
                )

    def _pass_on(self, tracker: Tracker, event: dict[str, Any]) -> None:
        try:
            tracker.take(event)
        except Exception as error:  # as above; the events themselves are safe, they were written first
            self._trackers.remove(tracker)
            self._complain(
                f"{type(tracker).__name__} stopped: {reason_of(error)}.",
                "The run goes on; `tensorboard` writes the graphs again from the events.",
            )

    def _settings(self) -> dict[str, Any]:
        try:
            settings = Tree(self._run_dir).read_json("child.json")["plan"]["settings"]
        except FileNotFoundError:
            settings = {}
        return {"run_id": self._run_dir.name, **settings}
