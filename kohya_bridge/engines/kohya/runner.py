"""The child process of the kohya engine: `python -m kohya_bridge.engines.kohya.runner RUN_DIR`, in sd-scripts' interpreter.

In: `child.json` and the rendered configuration of the run folder. Out: events, checkpoints, states and an exit code, by the
contract of `engines.child`. sd-scripts is imported into this process and trains; whether it succeeded is judged by steps
and files, since it exits 0 without training when it finds no pictures.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Any

from ... import json_text
from ...device.accelerator import Accelerator
from ...files import Tree
from ..child import EXIT_COMPLETED, EXIT_FAILED, EXIT_NO_DATA, Child, ChildFailure, StopRequested
from ..train_log import log_traceback
from . import ranks
from .attempt import Attempt, EndedEarly, begin_attempt
from .hooks import install
from .upstream import load_upstream, parse_arguments

OWN_LOG_VARIABLE = "KOHYA_TENSORBOARD"
PACKAGES = (
    "torch",
    "accelerate",
    "transformers",
    "diffusers",
    "safetensors",
    "bitsandbytes",
    "xformers",
    "lycoris-lora",
)


def train(child: Child) -> None:
    """Load sd-scripts, hook into it and let it train.

    Raises:
        ChildFailure: nothing was trained, or the training ended early without being asked to.
        StopRequested: a stop was asked for; LoRA and state are on disk.
    """
    final = child.final_before()
    if final is not None:
        begin_attempt(child, resumed_from=final["step"])
        child.finish_with(final)
        return
    attempt = Attempt.begin(child)
    try:
        attempt.stop_where_due()
    except EndedEarly:
        return
    attempt.report.phase("loading")
    upstream = load_upstream(Path(attempt.orders["sd_scripts"]), attempt.orders["script"])
    if ranks.rank() == 0:
        _write_environment(child.run_dir, attempt.orders)
    args = parse_arguments(upstream, Path(attempt.orders["config_file"]))
    _set_places(args, attempt)
    attempt.args = args
    trainer = install(upstream, attempt)()
    try:
        trainer.train(args)
    except (StopRequested, EndedEarly) as ended:
        if attempt.accelerator is not None:
            attempt.accelerator.end_training()  # whatever logs are open are written
        if isinstance(ended, StopRequested):
            raise
    else:
        _judge(attempt)


def _set_places(args: Any, attempt: Attempt) -> None:
    """What depends on this attempt and this machine, and so is not in the rendered configuration.

    TensorBoard and W&B are told by the reporter, as for every engine. For a comparison sd-scripts' own log can be had too.
    """
    args.resume = str(attempt.resume) if attempt.resume else None
    child = attempt.child
    args.training_comment = f"run {child.told['run_id']}, {args.training_comment}"
    if os.environ.get(OWN_LOG_VARIABLE):
        args.logging_dir = str(child.run_dir / "sd_scripts_log")


def _judge(attempt: Attempt) -> None:
    """Upstream returned. Completed means: every planned step, and the last LoRA on disk (checked when it was written)."""
    if ranks.rank() != 0:
        return
    if attempt.step <= attempt.offset:
        raise ChildFailure(
            "Nothing was trained: sd-scripts found no pictures to train on.",
            "Check that the dataset's images folder holds pictures: Dataset Lint looks through it.",
            exit_code=EXIT_NO_DATA,
            code="no_data",
        )
    if attempt.step < attempt.total or attempt.last_saved != attempt.step:
        raise ChildFailure(
            f"sd-scripts ended at step {attempt.step} of {attempt.total} without a word.",
            "The end of train.log may say why. Resume continues from the last saved state.",
            code="ended_early",
        )


def _write_environment(run_dir: Path, orders: dict[str, Any]) -> None:
    import torch

    accelerator = Accelerator.find(torch)
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    told = {
        "engine": "kohya",
        "sd_scripts_commit": orders["commit"],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        "cuda": torch.version.cuda,
        "device": accelerator.kind,
        "devices": [each.name for each in accelerator.describe_all() if each.is_gpu],
        "vram_free_gib": accelerator.free_gib(),
        "processes": ranks.world_size(),
    }
    Tree(run_dir).write("environment.json", json_text.write(told, indent=1))


def _follow(run_dir: Path) -> int:
    """A rank above 0: it trains and stops with rank 0, and writes nothing into the run folder."""
    child = Child(run_dir, report=ranks.QuietReporter(run_dir))
    child.controls.install_signal_handlers()
    try:
        train(child)
    except StopRequested:
        return EXIT_COMPLETED
    except Exception:  # the outermost edge of this process; rank 0 tells the story
        log_traceback()
        return EXIT_FAILED
    return EXIT_COMPLETED


def main(run_dir: Path) -> int:
    if ranks.rank() != 0:
        return _follow(run_dir)
    child = Child(run_dir)
    return child.guarded(lambda: train(child))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
