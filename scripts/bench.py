"""Seconds per step of the native engine, split up; start-up; peak memory. Beside sd-scripts where that is at hand.

    python -m scripts.bench [--layout sd15] [--resolution 64] [--precision no] [--steps 6] ...

Base models have a real layout and random weights: speed does not depend on what a model has learnt. Everything runs in
child processes, one after the other, as in real use. With KOHYA_SD_SCRIPTS (a checkout) and KOHYA_PYTHON (its interpreter) set,
sd-scripts trains the same pictures at the same settings right after, on the same machine in the same minutes. Under
mixed_precision both keep the frozen model in the low precision and the LoRA in fp32. On a machine that others use too, the
fastest step and several rounds tell more than the median.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from kohya_bridge.architectures import architecture
from kohya_bridge.architectures.base import sd_scripts
from kohya_bridge.engines.contract import MachinePaths, write_child_file
from kohya_bridge.engines.native.engine import NativeEngine
from kohya_bridge.models.comfy_folders import default_tokenizer_dir
from kohya_bridge.plan import TrainingPlan
from kohya_bridge.run_folder import RunFolder
from kohya_bridge.workspace import PACK_ROOT
from scripts.base_layouts import (
    SD15_UNET,
    SDXL_UNET,
    Shapes,
    clip_g_shapes,
    clip_l_shapes,
    taesd_shapes,
    unet_shapes,
    vae_shapes,
)
from scripts.make_demo_base import DEMO_UNET, TINY_SD15_UNET

PICTURES = 8
LAYOUTS = {
    "tiny": (
        "sd15",
        lambda: (
            unet_shapes(TINY_SD15_UNET)
            | clip_l_shapes("sd15", width=64, layers=2)
            | vae_shapes(widths=(32,) * 4, blocks=1)
        ),
    ),
    "demo": ("sd15", lambda: unet_shapes(DEMO_UNET) | clip_l_shapes("sd15") | taesd_shapes()),
    "sd15": ("sd15", lambda: unet_shapes(SD15_UNET) | clip_l_shapes("sd15") | vae_shapes()),
    "sdxl": (
        "sdxl",
        lambda: unet_shapes(SDXL_UNET) | clip_l_shapes("sdxl") | clip_g_shapes() | vae_shapes(),
    ),
}


@dataclass(frozen=True)
class Row:
    """One measured training. Seconds and GiB; None where it could not be had."""

    name: str
    seconds_per_step: float | None
    fastest_s: float | None
    """The quickest step: what the code costs, as others' work on the machine only ever adds to a step."""
    first_step_s: float | None
    wall_s: float
    cpu_s: float
    """Processor time of the whole run: steadier than the wall clock on a machine that others use too."""
    peak_gib: float
    exit_code: int
    split: str = ""

    def __str__(self) -> str:
        step, fastest = (
            "-" if each is None else f"{each:.3f}" for each in (self.seconds_per_step, self.fastest_s)
        )
        first = "-" if self.first_step_s is None else f"{self.first_step_s:.1f}"
        failed = "" if self.exit_code == 0 else f"  exit code {self.exit_code}"
        return f"{self.name:34} {step:>9} {fastest:>9} {first:>11} {self.wall_s:8.1f} {self.cpu_s:8.1f} {self.peak_gib:9.2f}{failed}  {self.split}"


# sd-scripts as it is; but on a machine without a GPU its torchvision may be of another build than torch.
LAUNCH_SD_SCRIPTS = """
import os, runpy, sys
from kohya_bridge.engines.kohya.upstream import make_torchvision_importable
make_torchvision_importable()
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
HEADER = f"{'':34} {'s/step':>9} {'fastest':>9} {'first step':>11} {'wall':>8} {'cpu':>8} {'peak GiB':>9}"


def main() -> int:
    chosen = _arguments()
    if chosen.threads:
        os.environ["OMP_NUM_THREADS"] = str(chosen.threads)
    folder = chosen.folder.resolve()
    family, shapes = LAYOUTS[chosen.layout]
    base = folder / f"{chosen.layout}.safetensors"
    if not base.is_file():
        print(f"making {base.name} with random weights ...", flush=True)
        write_random_base(base, shapes())
    dataset = make_pictures(folder / "pictures")
    print(f"{chosen.layout}, {chosen.resolution} px, batch {chosen.batch}, rank {chosen.rank}, "
          f"mixed_precision {chosen.precision}, {chosen.steps} steps\n{HEADER}", flush=True)  # fmt: skip
    rows = [row for _ in range(chosen.rounds) for row in measure(chosen, base, dataset, family)]
    return max((row.exit_code for row in rows), default=0)


def measure(chosen: argparse.Namespace, base: Path, dataset: Path, family: str) -> list[Row]:
    """One round: the native engine's rows, then sd-scripts'."""
    rows, folder = [], chosen.folder.resolve()
    if chosen.only != "sd-scripts":
        rows += _measure_native_rows(chosen, base, dataset, family, folder / "cache")
    checkout, interpreter = os.environ.get("KOHYA_SD_SCRIPTS"), os.environ.get("KOHYA_PYTHON")
    if checkout and interpreter and chosen.only != "native":
        rows.append(measure_sd_scripts(chosen, base, dataset, family, Path(checkout), interpreter))
    elif chosen.only != "native":
        print("sd-scripts: set KOHYA_SD_SCRIPTS and KOHYA_PYTHON to measure it beside.")
    return rows


def _measure_native_rows(
    chosen: argparse.Namespace, base: Path, dataset: Path, family: str, cache: Path
) -> list[Row]:
    """A first run, a second one that finds its encodings, and if asked for one that encodes captions at each step."""
    live = {"cache_text_encoder_outputs": False}
    wanted = [("native, empty cache", {}), ("native, warm cache", {})]
    wanted += [("native, text encoded at each step", live)] if chosen.live_text else []
    _fresh(cache)
    return [measure_native(name, chosen, base, dataset, family, cache=cache, **each) for name, each in wanted]


def measure_native(
    name: str,
    chosen: argparse.Namespace,
    base: Path,
    dataset: Path,
    family: str,
    *,
    cache: Path,
    **settings: object,
) -> Row:
    """Train by the native engine's child and read its timings."""
    plan = _plan(chosen, family, settings)
    run = RunFolder(_fresh(chosen.folder.resolve() / "runs" / "native"))
    run.plan_file.write_text(plan.to_yaml(), encoding="utf-8")
    paths = MachinePaths(base, dataset, cache, default_tokenizer_dir())
    command = NativeEngine().command(run, plan, paths, resume=None)
    write_child_file(run, plan, paths, resume=None, measure=True)
    started = time.time()
    with open(run.log_file, "wb") as log:
        child = subprocess.Popen(
            command.argv,
            cwd=command.cwd,
            env={**os.environ, **command.environment},
            stdout=log,
            stderr=log,
        )
        exit_code, cpu_s, peak_gib = wait_and_measure(child)
    wall_s = time.time() - started
    timings = run.dir / "timings.json"
    if not timings.is_file():
        print(run.state().problem or run.log_tail())
        return _told(Row(name, None, None, None, wall_s, cpu_s, peak_gib, exit_code or 1))
    told = json.loads(timings.read_text())
    first = next(event["time"] for event in run.events() if event["kind"] == "progress") - started
    split = ", ".join(
        f"{part} {spent:.3f} ({spent / told['mean']:.1%})" for part, spent in told["parts"].items()
    )
    return _told(Row(name, told["median"], told["fastest"], first, wall_s, cpu_s, peak_gib, exit_code, split))


def measure_sd_scripts(
    chosen: argparse.Namespace, base: Path, dataset: Path, family: str, checkout: Path, interpreter: str
) -> Row:
    """Train by sd-scripts, unmodified, and read the clock when its progress bar moves."""
    from kohya_bridge.engines.kohya.tokenizers import build_tokenizers

    work = _fresh(chosen.folder.resolve() / "runs" / "sd-scripts")
    tokenizers = build_tokenizers(default_tokenizer_dir(), work / "tokenizers")
    arguments = _sd_scripts_arguments(
        chosen, base, _as_dreambooth(dataset, work / "data"), family, work, tokenizers
    )
    script = checkout / sd_scripts(architecture(family)).script
    started = time.time()
    child = subprocess.Popen(
        [interpreter, "-u", "-c", LAUNCH_SD_SCRIPTS, str(script), *arguments],
        cwd=work,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1", "PYTHONPATH": str(PACK_ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    times = _times_of_steps(child, work / "train.log")
    exit_code, cpu_s, peak_gib = wait_and_measure(child)
    wall_s = time.time() - started
    between = [times[step] - times[step - 1] for step in times if step >= 2 and step - 1 in times]
    median, fastest = (float(np.median(between)), min(between)) if between else (None, None)
    first = times[1] - started if 1 in times else None
    if exit_code:
        print((work / "train.log").read_text("utf-8", "replace")[-1500:])
    return _told(Row("sd-scripts", median, fastest, first, wall_s, cpu_s, peak_gib, exit_code))


def wait_and_measure(child: subprocess.Popen[bytes]) -> tuple[int, float, float]:
    """`(exit code, processor seconds, peak resident memory in GiB)` of a child, which is waited for."""
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024  # Linux counts in KiB
    return child.returncode, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 2**30


def write_random_base(file: Path, shapes: Shapes) -> None:
    """A single-file fp16 checkpoint of these shapes, written tensor by tensor: SDXL's would not fit in memory twice."""
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    noise = np.random.default_rng(0).standard_normal(1 << 22, dtype=np.float32)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    with open(part, "wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            stream.write(_random_tensor(name, shape, noise).astype(np.float16).tobytes())
    part.replace(file)


def _random_tensor(name: str, shape: tuple[int, ...], noise: np.ndarray) -> np.ndarray:
    if len(shape) < 2:
        return (
            np.ones(shape, np.float32) if name.endswith(("weight", "_scale")) else np.zeros(shape, np.float32)
        )
    return np.resize(noise, math.prod(shape)) * (0.6 / math.sqrt(math.prod(shape[1:])))


def make_pictures(folder: Path) -> Path:
    """A dataset of noise pictures, 256 px, with captions."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    dice, rows = np.random.default_rng(1), []
    for number in range(PICTURES):
        colours = dice.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(colours).resize((256, 256), Image.Resampling.BICUBIC).save(images / f"{number}.png")
        rows.append(
            json.dumps({"file_name": f"{number}.png", "prompt": f"char_bench, colours, picture {number}"})
        )
    (folder / "captions.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def _plan(chosen: argparse.Namespace, family: str, settings: dict[str, object]) -> TrainingPlan:
    return TrainingPlan.model_validate(
        {
            "character": "bench",
            "dataset": {"slug": "bench", "digest": "0" * 64, "images": PICTURES},
            "base_model": {"name": chosen.layout, "sha256": chosen.layout.ljust(64, "0"), "family": family},
            "engine": "native",
            "engine_version": "bench",
            "settings": {
                "resolution": chosen.resolution,
                "min_bucket_reso": 64,
                "max_bucket_reso": max(1024, chosen.resolution),
                "enable_bucket": False,
                "mixed_precision": chosen.precision,
                "network_dim": chosen.rank,
                "network_alpha": chosen.rank,
                "optimizer_type": chosen.optimiser,
                "max_train_steps": chosen.steps,
                "train_batch_size": chosen.batch,
                "network_train_unet_only": not chosen.text_encoders,
                "cache_text_encoder_outputs": not chosen.text_encoders,
                "gradient_checkpointing": chosen.checkpointing,
                "torch_compile": chosen.compile,
                "min_snr_gamma": 0,
                "lr_scheduler": "constant",
                "save_every_n_steps": 0,
                "save_state": False,
                "validation_split": 0,
                **settings,
            },
        }
    )


def _sd_scripts_arguments(
    chosen: argparse.Namespace, base: Path, data: Path, family: str, work: Path, tokenizers: Path
) -> list[str]:
    cached_text = sd_scripts(architecture(family)).caches_text and not chosen.text_encoders
    switches = {
        "--network_train_unet_only": not chosen.text_encoders,
        "--cache_text_encoder_outputs": cached_text,
        "--gradient_checkpointing": chosen.checkpointing,
        "--torch_compile": chosen.compile,
    }
    values = {
        "pretrained_model_name_or_path": base,
        "tokenizer_cache_dir": tokenizers,
        "train_data_dir": data,
        "output_dir": work / "out",
        "output_name": "bench",
        "save_model_as": "safetensors",
        "resolution": chosen.resolution,
        "network_module": "networks.lora",
        "network_dim": chosen.rank,
        "network_alpha": chosen.rank,
        "learning_rate": 1e-4,
        "optimizer_type": chosen.optimiser,
        "train_batch_size": chosen.batch,
        "max_train_steps": chosen.steps,
        "seed": 42,
        "caption_extension": ".txt",
        "max_data_loader_n_workers": 0,
        "mixed_precision": chosen.precision,
    }
    named = [part for name, value in values.items() for part in (f"--{name}", str(value))]
    return [*named, "--cache_latents", "--sdpa", *(name for name, is_on in switches.items() if is_on)]


def _as_dreambooth(dataset: Path, folder: Path) -> Path:
    """The same pictures as sd-scripts wants them: `1_name/` with a caption file beside each."""
    inner = folder / "1_bench"
    inner.mkdir(parents=True)
    for line in (dataset / "captions.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        shutil.copy(dataset / "images" / row["file_name"], inner)
        (inner / row["file_name"]).with_suffix(".txt").write_text(row["prompt"], encoding="utf-8")
    return folder


def _times_of_steps(child: subprocess.Popen[bytes], log_file: Path) -> dict[int, float]:
    """When sd-scripts' bar first showed each step. It redraws at most every 0.1 s: too coarse below that."""
    assert child.stderr is not None
    times: dict[int, float] = {}
    unread = b""
    with open(log_file, "wb") as log:
        while data := os.read(child.stderr.fileno(), 4096):
            log.write(data)
            unread += data
            for found in re.finditer(rb"steps:[^|]*\|[^|]*\| *(\d+)/\d+ \[", unread):
                times.setdefault(int(found[1]), time.time())
            unread = unread[-300:]
    return times


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _told(row: Row) -> Row:
    print(row, flush=True)
    return row


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layout", choices=LAYOUTS, default="demo", help="size of the base model")
    parser.add_argument("--resolution", type=int, default=128, help="pixels")
    parser.add_argument("--precision", choices=("no", "bf16", "fp16"), default="no")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--optimiser", default="AdamW")
    parser.add_argument("--text-encoders", action="store_true", help="train them too")
    parser.add_argument("--live-text", action="store_true", help="also without cached text-encoder outputs")
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing")
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    parser.add_argument("--threads", type=int, help="processor threads of a training; default: all")
    parser.add_argument("--only", choices=("native", "sd-scripts"), help="measure only one of the two")
    parser.add_argument("--rounds", type=int, default=1, help="measure everything this often, in turn")
    parser.add_argument("--folder", type=Path, default=Path(".cache/bench"), help="where bases and runs lie")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
