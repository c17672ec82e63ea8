"""One visit of somebody to the desk, as a process that can be killed: `python -m scripts.chaos.at_the_desk WORKSPACE REQUEST`.

In: a workspace with a dataset, and a training request as JSON. Out: the run, submitted or resumed by the same request, and followed to
its end. Its engine is the quick double; where `seconds_per_step` is given, steps take that long.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from kohya_bridge.desk import Desk
from kohya_bridge.plan import TrainingRequest
from kohya_bridge.workspace import Workspace
from tests.doubles.quick_engine import QuickEngine


def desk_of(root: Path, *, seconds_per_step: float = 0.0) -> Desk:
    """A desk whose folders are those of `tests/desk`."""
    models = root.parent / "models"
    return Desk(
        Workspace.at(root),
        checkpoint_dirs=[models / "checkpoints"],
        lora_dirs=[models / "loras"],
        tokenizer_dir=models / "tokenizer",
        engines={"native": QuickEngine(seconds_per_step=seconds_per_step)},
    )


def main(root: Path, request: dict[str, object]) -> int:
    seconds = float(str(request.pop("seconds_per_step", 0.0)))
    desk = desk_of(root, seconds_per_step=seconds)
    desk.reconcile()
    run = desk.submit(TrainingRequest.model_validate(request))
    print(desk.wait(run.run_id, poll_s=0.05).status)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), json.loads(sys.argv[2])))
