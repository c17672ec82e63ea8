"""Digests of all that small runs of SD 1.x and SDXL leave, for two checkouts on one machine: a move that should change nothing changes none.

    python -m scripts.golden_runs --tree /path/to/another/checkout --shared FOLDER
    python -m scripts.golden_runs --shared FOLDER

In: a checkout (this one unless `--tree` names another), a folder with the base models and pictures that both use, made where it is empty. Out: a line
for each run with its id and a digest of every LoRA, state, loss and measurement (three runs are killed and resumed as well), and one
of all of them with the cache. Bytes differ between machines and versions of torch; run ids do not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SMALLER, LARGER = "sd15", "sdxl"
KILLED_AT = 6
PLAIN: dict[str, Any] = {}
MUCH = {
    "network_dropout": 0.3, "flip_aug": True, "caption_dropout_rate": 0.3, "gradient_accumulation_steps": 2, "noise_offset": 0.05, "conv_dim": 2,
    "conv_alpha": 1.0, "gradient_checkpointing": True, "min_snr_gamma": 5.0,
}  # fmt: skip
TEXT = {"network_train_unet_only": False, "cache_text_encoder_outputs": False, "mixed_precision": "bf16"}
SHUFFLED = {**TEXT, "shuffle_caption": True, "caption_tag_dropout_rate": 0.2}
PIXELS = {
    "prediction_type": "v_prediction", "zero_terminal_snr": True, "optimizer_type": "Adafactor", "cache_latents": False, "min_timestep": 100,
    "max_timestep": 900,
}  # fmt: skip
CASES: dict[str, tuple[str, dict[str, Any], bool]] = {
    "plain": (SMALLER, PLAIN, True),
    "much": (SMALLER, MUCH, True),
    "text in bf16": (SMALLER, SHUFFLED, False),
    "v with pixels": (SMALLER, PIXELS, False),
    "preserving": (SMALLER, {"diff_output_preservation_multiplier": 1.0}, False),
    "larger": (LARGER, PLAIN, True),
    "larger, text, preserving": (LARGER, {**TEXT, "diff_output_preservation_multiplier": 0.5}, False),
}
"""What is run: a family, settings on top of those of the tests, and whether it is killed and resumed as well."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tree", type=Path, default=ROOT, help="the checkout that trains")
    parser.add_argument("--shared", type=Path, required=True, help="base models and pictures")
    chosen = parser.parse_args()
    if (
        chosen.tree.resolve() != ROOT
    ):  # another checkout's code, by that checkout's own copy of the tests' world
        command = [sys.executable, str(Path(__file__).resolve()), "--shared", str(chosen.shared.resolve())]
        os.chdir(chosen.tree)
        os.execve(sys.executable, command, {**os.environ, "PYTHONPATH": str(chosen.tree.resolve())})
    os.environ["PYTHONPATH"] = os.getcwd()
    with tempfile.TemporaryDirectory(prefix="golden-") as folder:
        print("all", run_cases(Path(folder), chosen.shared))


def run_cases(root: Path, shared: Path) -> str:
    """Train everything below `root`; the digest of all."""
    world_of = import_module("tests.native_world")
    dataset = shared / "dot"
    if not dataset.exists():
        world_of.make_dataset(dataset)
    found = {}
    for name, (family, settings, is_killed) in CASES.items():
        base = shared / family
        if not base.exists():
            world_of.make_base(base, family=family)
        world = world_of.World(root, base, dataset, root / "cache", family=family)
        plan = world.plan(**settings)
        sha256 = hashlib.sha256(family.encode()).hexdigest()  # of no file: former tests made it up as well
        plan = plan.model_copy(update={"base_model": plan.base_model.model_copy(update={"sha256": sha256})})
        found[name] = _left_by(_straight(world_of, world, plan))
        if is_killed:
            found[f"{name}, killed"] = _left_by(_killed(world_of, world, plan))
        print(f"{name}: run {plan.run_id}, {_digest(found[name])}", flush=True)
    cache = sorted(each for each in (root / "cache").rglob("*") if each.is_file())
    return _digest({**found, "cache": [hashlib.sha256(each.read_bytes()).hexdigest() for each in cache]})


def _straight(world_of: Any, world: Any, plan: Any) -> Any:
    run = world.run(plan, name="straight")
    assert world_of.finish(run) == 0, run.log_tail()
    return run


def _killed(world_of: Any, world: Any, plan: Any) -> Any:
    run = world.run(plan, name="killed")
    child = world_of.start(run)
    world_of.wait_for_step(run, KILLED_AT, child)
    child.kill()
    child.join()
    world.go_on(run)
    assert world_of.finish(run) == 0, run.log_tail()
    return run


def _left_by(run: Any) -> dict[str, Any]:
    """Digests of what a run leaves that does not tell the time."""
    files = [*run.dir.glob("checkpoints/*"), *run.dir.glob("states/*/*"), run.dir / "best.json"]
    state = run.state()
    measured = [{k: v for k, v in row.items() if k not in ("time", "seq")} for row in state.validations]
    return {
        "files": {
            str(each.relative_to(run.dir)): hashlib.sha256(each.read_bytes()).hexdigest()
            for each in sorted(files)
            if each.is_file()
        },
        "losses": [
            row[:2] for row in state.losses
        ],  # steps and losses; their average is made for whoever looks
        "validations": measured,
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


if __name__ == "__main__":
    main()
