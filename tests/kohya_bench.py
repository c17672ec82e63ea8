"""A bench for the kohya engine: a workspace with pictures, plans for it, and real child processes under the real runner.

The trainer is our double in `tests/doubles/fake_sd_scripts`. The tests marked `sdscripts` take the real one, where
KOHYA_SD_SCRIPTS and KOHYA_PYTHON name it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from kohya_bridge.engines.contract import MachinePaths
from kohya_bridge.engines.kohya.engine import RUNNER, KohyaEngine
from kohya_bridge.models.safetensors_header import read_header
from kohya_bridge.plan import BaseModelFacts, DatasetFacts, TrainingPlan, TrainingRequest, make_plan
from kohya_bridge.run_folder import RunFolder
from tests.forks import Forked
from tests.waiting import wait_until

DOUBLE = Path(__file__).parent / "doubles" / "fake_sd_scripts"
TINY_NUMBERS = {
    "network_dim": 4,
    "network_alpha": 4.0,
    "resolution": 64,
    "min_bucket_reso": 64,
    "max_bucket_reso": 128,
    "bucket_no_upscale": False,
    "mixed_precision": "no",
    "train_batch_size": 1,
    "max_train_steps": 12,
    "save_every_n_steps": 5,
    "validate_every_n_steps": 5,
    "validation_split": 0.25,
    "min_snr_gamma": 0.0,
    "cache_text_encoder_outputs": False,
}


def weights(file: Path) -> dict[str, bytes]:
    """The bytes of every tensor of a .safetensors file."""
    header, content = read_header(file), file.read_bytes()
    return {name: content[info.begin : info.end] for name, info in header.tensors.items()}


@dataclass
class Ended:
    """A child that has ended."""

    run: RunFolder
    code: int
    events: list[dict]

    def of(self, kind: str) -> list[dict]:
        return [event for event in self.events if event["kind"] == kind]

    @property
    def finished(self) -> dict:
        return self.events[-1]

    def losses(self) -> dict[int, tuple]:
        """`(loss, rates, epoch)` by step; a later attempt replaces what an earlier one told."""
        return {row["step"]: (row["loss"], row["lr"], row["epoch"]) for row in self.of("progress")}


@dataclass
class Bench:
    """Where a test trains. `start` begins a child, `train` also waits for its end."""

    root: Path
    dataset_dir: Path
    base_model: Path
    tokenizer_dir: Path
    argv: Callable[[tuple[str, ...]], list[str]] = list
    environment: dict[str, str] = field(default_factory=dict)
    family: str = "sd15"
    cache_dir: Path | None = None
    warm: bool = True
    """Whether a child of this very Python is forked from one that has imported torch, or started by its command line."""

    def plan(self, *, images: int = 8, kohya: dict | None = None, **settings) -> TrainingPlan:
        request = TrainingRequest(
            dataset="dots",
            base_model=self.base_model.name,
            settings={**TINY_NUMBERS, **settings},
            kohya=kohya or {},
        )
        return make_plan(
            request,
            dataset=DatasetFacts(slug="dots", digest="a" * 64, images=images, trigger="char_dots"),
            base_model=BaseModelFacts(name=self.base_model.name, sha256="b" * 64, family=self.family),
            engine="kohya",
            engine_version=KohyaEngine().version(),
        )

    @property
    def paths(self) -> MachinePaths:
        return MachinePaths(
            self.base_model, self.dataset_dir, self.cache_dir or self.root / "cache", self.tokenizer_dir
        )

    def run_folder(self, plan: TrainingPlan, name: str = "dots") -> RunFolder:
        run = RunFolder(self.root / "runs" / name / plan.run_id)
        run.dir.mkdir(parents=True, exist_ok=True)
        run.plan_file.write_text(plan.to_yaml(), encoding="utf-8")
        return run

    def start(
        self, plan: TrainingPlan, *, name: str = "dots", resume: Path | None = None, **environment: str
    ):
        run = self.run_folder(plan, name)
        command = KohyaEngine().command(run, plan, self.paths, resume=resume)
        everything = {
            **os.environ,
            **command.environment,
            "OMP_NUM_THREADS": "1",
            **self.environment,
            **environment,
        }
        argv = list(self.argv(command.argv))
        if self.warm and argv[:3] == [sys.executable, "-m", RUNNER]:
            return run, Forked(RUNNER, argv[3:], cwd=command.cwd, env=everything, log=run.log_file)
        with open(run.log_file, "ab") as log:
            child = subprocess.Popen(
                argv, cwd=command.cwd, env=everything, stdout=log, stderr=subprocess.STDOUT
            )
        return run, child

    def train(
        self,
        plan: TrainingPlan,
        *,
        act: Callable[[RunFolder, subprocess.Popen], None] | None = None,
        **options,
    ) -> Ended:
        run, child = self.start(plan, **options)
        try:
            if act:
                act(run, child)
            code = child.wait(timeout=600)
        finally:
            if child.poll() is None:
                child.kill()
        return Ended(run, code, list(run.events()))


def wait_for(condition: Callable[[], object], child: subprocess.Popen, *, seconds: float = 300) -> None:
    """Wait until `condition` holds or the child has ended."""
    wait_until(lambda: condition() or child.poll() is not None, seconds=seconds, poll_s=0.01)


def at_step(step: int) -> Callable[[RunFolder, subprocess.Popen], None]:
    """Wait until a run has done that step."""
    return lambda run, child: wait_for(lambda: run.state().step >= step, child)


def make_bench(root: Path) -> Bench:
    """A bench whose base model and tokenizer are there in name only: enough for the double."""
    tokenizer_dir = root / "comfy" / "sd1_tokenizer"
    tokenizer_dir.mkdir(parents=True)
    (tokenizer_dir / "vocab.json").write_text('{"a</w>": 0}', encoding="utf-8")
    (tokenizer_dir / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    base_model = root / "models" / "checkpoints" / "base.safetensors"
    base_model.parent.mkdir(parents=True)
    base_model.write_bytes(b"the double reads no weights")
    return Bench(root, make_dataset(root / "datasets" / "dots"), base_model, tokenizer_dir)


def make_dataset(folder: Path, *, pictures: int = 8, size: int = 64) -> Path:
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(pictures):
        picture = Image.linear_gradient("L").resize((size, size)).rotate(37 * number).convert("RGB")
        picture.paste((255 - 25 * number, 30 * number, 128), (8, 8, 24, 24))
        picture.save(folder / "images" / f"{number:04d}.png")
        rows.append(
            json.dumps(
                {
                    "file_name": f"{number:04d}.png",
                    "prompt": f"char_dots, picture {number}, red dress, smiling",
                }
            )
        )
    (folder / "captions.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "metadata.yaml").write_text("lora_tag: char_dots\n", encoding="utf-8")
    return folder


def real_checkout():
    """The real sd-scripts, or a skip that says how to have it."""
    return find_checkout_or_skip()[0]


def real_interpreter() -> Path:
    return find_checkout_or_skip()[1]


def find_checkout_or_skip():
    import pytest

    from kohya_bridge.engines.kohya.checkout import find_checkout, find_interpreter
    from kohya_bridge.errors import Unavailable

    try:
        return find_checkout(), find_interpreter()
    except Unavailable:
        pytest.skip(
            "sd-scripts is not checked out here: `make kohya`, or KOHYA_SD_SCRIPTS and KOHYA_PYTHON, let this run"
        )
