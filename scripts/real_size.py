"""Full-size Stable Diffusion 1.5 and SDXL with random weights through the native engine: memory and seconds per step.

    python -m scripts.real_size [--family sd15|sdxl|all] [--pixels 64] [--steps 3] [--precision bf16|fp32]

What unit tests can't show: that a checkpoint with every layer of the real models loads, in how much memory, and that LoRA
steps on it are finite. Weights are random, so losses say nothing. Writes a file of 2.1 or 6.9 GB to a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from kohya_bridge.models.safetensors_header import BYTES_PER_NUMBER
from scripts.base_layouts import (
    SD15_UNET,
    SDXL_UNET,
    Shapes,
    clip_g_shapes,
    clip_l_shapes,
    unet_shapes,
    vae_shapes,
)

FAMILIES = ("sd15", "sdxl")


@dataclass(frozen=True)
class Measured:
    """One family's figures. Times in seconds, memory in GiB (peak of the process so far)."""

    family: str
    precision: str
    pixels: int
    modules: int
    file_gb: float
    load_s: float
    encode_s: float
    first_step_s: float
    step_s: float
    loaded_gib: float
    peak_gib: float
    losses: list[float]


def full_size_shapes(family: str) -> Shapes:
    """Every tensor of a complete checkpoint."""
    shapes = unet_shapes(SDXL_UNET if family == "sdxl" else SD15_UNET) | vae_shapes() | clip_l_shapes(family)
    return shapes | clip_g_shapes() if family == "sdxl" else shapes


def write_checkpoint(file: Path, shapes: Shapes) -> Path:
    """A checkpoint of these shapes in fp16, written piece by piece: it is never in memory as a whole."""
    entries, begin = {}, 0
    for name, shape in shapes.items():
        end = begin + int(np.prod(shape)) * BYTES_PER_NUMBER["F16"]
        entries[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [begin, end]}
        begin = end
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    pool = np.random.default_rng(0).standard_normal(1 << 20, np.float32)
    with file.open("wb") as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        for name, shape in shapes.items():
            _weights(pool, name, shape).tofile(stream)
    return file


def _weights(pool: np.ndarray, name: str, shape: tuple[int, ...]) -> np.ndarray:
    count = int(np.prod(shape))
    if len(shape) < 2:
        return np.full(count, name.endswith("weight"), np.float16)
    spread = 0.02 if "embedding" in name else 0.6 / np.sqrt(count / shape[0])
    return np.resize((pool * spread).astype(np.float16), count)


def measure(family: str, *, pixels: int, steps: int, precision: str, tokenizer_dir: Path) -> Measured:
    """Load a full-size model, encode a picture and a caption, and train a rank-16 LoRA for a few steps."""
    import torch

    from kohya_bridge.engines.native.diffusers_side.models import load_base
    from kohya_bridge.engines.training.lora import add_lora
    from kohya_bridge.settings import TrainingSettings

    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]
    with tempfile.TemporaryDirectory() as folder:
        file = write_checkpoint(Path(folder) / f"{family}.safetensors", full_size_shapes(family))
        began = time.perf_counter()
        encoders = load_base(
            file, family=family, dtype=dtype, parts={"vae", "text"}, tokenizer_dir=tokenizer_dir
        )
        with torch.no_grad():
            latents = encoders.vae.encode(torch.rand(1, 3, pixels, pixels) * 2 - 1)
            said = encoders.text.encode(encoders.text.tokenize(["a photograph of char_alice"]))
        encoded_at = time.perf_counter()
        del encoders
        base = load_base(file, family=family, dtype=dtype, parts={"unet"})
        network = add_lora(base, TrainingSettings(network_dim=16, network_alpha=8.0), seed=0)
        loaded_at, loaded_gib = time.perf_counter(), peak_gib()
        optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
        more = {}
        if said.pooled is not None:
            sizes = torch.tensor([[float(pixels), pixels, 0, 0, pixels, pixels]])
            more = {"added_cond_kwargs": {"text_embeds": said.pooled.to(dtype), "time_ids": sizes}}
        losses, times = [], [time.perf_counter()]
        for _ in range(steps):
            noise = torch.randn_like(latents)
            noisy = (latents + noise).to(dtype)
            predicted = base.unet(noisy, torch.tensor([500]), said.hidden.to(dtype), **more).sample
            loss = torch.nn.functional.mse_loss(predicted.float(), noise)
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            losses.append(float(loss))
            times.append(time.perf_counter())
        taken = np.diff(times)
        return Measured(
            family, precision, pixels, len(network.modules), file.stat().st_size / 1e9,
            loaded_at - encoded_at, encoded_at - began, float(taken[0]), float(np.median(taken[1:])),
            loaded_gib, peak_gib(), losses,
        )  # fmt: skip


def peak_gib() -> float:
    """Highest resident memory of this process until now; pages of the mapped file count while they are in use."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure_apart(family: str, **options: object) -> Measured:
    """`measure` in a process of its own, so that one family's peak is not the other's."""
    words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "scripts.real_size", "--family", family, "--as-json", *words]
    answer = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1]
    )
    return Measured(**json.loads(answer.stdout.splitlines()[-1]))


def shown(measured: Measured) -> str:
    return (
        f"{measured.family} {measured.precision} {measured.pixels} px, rank 16, {measured.modules} modules: "
        f"load {measured.load_s:.1f} s, encoders {measured.encode_s:.1f} s, first step {measured.first_step_s:.2f} s, "
        f"then {measured.step_s:.2f} s a step; memory {measured.loaded_gib:.2f} GiB loaded, {measured.peak_gib:.2f} peak; "
        f"file {measured.file_gb:.2f} GB; losses {', '.join(f'{loss:.3f}' for loss in measured.losses)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--family", choices=[*FAMILIES, "all"], default="all")
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument(
        "--tokenizer-dir", type=Path, help="CLIP's vocab.json and merges.txt; made when left out"
    )
    parser.add_argument("--as-json", action="store_true")
    chosen = parser.parse_args()
    options = {"pixels": chosen.pixels, "steps": chosen.steps, "precision": chosen.precision}
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = chosen.tokenizer_dir
        if tokenizer is None:
            from scripts.make_tokenizer import make_tokenizer

            tokenizer = make_tokenizer(Path(folder))
        if chosen.as_json:
            print(json.dumps(asdict(measure(chosen.family, tokenizer_dir=tokenizer, **options))))
            return
        for family in FAMILIES if chosen.family == "all" else (chosen.family,):
            print(shown(measure_apart(family, tokenizer_dir=tokenizer, **options)), flush=True)


if __name__ == "__main__":
    main()
