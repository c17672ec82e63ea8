"""`python -m kohya_bridge.engines.native RUN_DIR`: train one run as a child process.

The first event is written before torch is imported, so that whoever waits sees the run begin at once.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from ... import json_text
from ...files import Tree
from ..child import Child

NAME = "native"


class Mute:
    """The reporter of every process but the first: takes all calls and writes nothing."""

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *_: Any, **__: Any) -> Mute:
        return self


def train(child: Child) -> None:
    """One attempt, from its first event to its last step."""
    started = time.time()
    total = child.told["plan"]["settings"]["max_train_steps"]
    resume = child.told.get("resume")
    final = child.final_before(measured=child.told["plan"]["settings"]["validation_split"] > 0)
    if final is not None:
        child.report.started(engine=NAME, total=total, resumed_from=final["step"])
        child.finish_with(final)
        return
    child.report.started(engine=NAME, total=total, resumed_from=_resumed_step(resume))
    child.report.phase("loading")

    from ..training.environment import write_environment
    from ..training.fit import fit
    from ..training.meter import Clock
    from ..training.ranks import join_ranks
    from .sides import open_side

    ranks, clock = join_ranks(), Clock(started=started, synchronise=bool(child.told.get("measure")))
    try:
        if ranks.speaks:
            write_environment(Tree(child.run_dir), device=ranks.device)
        fit(child, ranks, clock, open_side)
    finally:
        ranks.close()
        print(clock, flush=True)
    if child.told.get("measure"):
        Tree(child.run_dir).write("timings.json", json_text.write(clock.to_json()))


def _is_follower() -> bool:
    """Whether `accelerate launch` started this process as another than the first."""
    return int(os.environ.get("RANK", "0")) > 0


def _resumed_step(resume: str | None) -> int:
    """The step that a state folder's name carries; its content is read once torch is there."""
    return int(Path(resume).name.removeprefix("step")) if resume else 0


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m kohya_bridge.engines.native RUN_DIR", file=sys.stderr)
        return 2
    child = Child(Path(arguments[0]).resolve(), report=Mute() if _is_follower() else None)
    return child.guarded(lambda: train(child))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
