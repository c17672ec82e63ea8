"""Full-size models of ComfyUI's own families with random weights: seconds a step, peak memory, and whether a resume gives the same bits.

    COMFYUI_DIR=... python -m scripts.host_real_size [--pixels 1024] [--steps 6] [--families zimage ...] [--formats bf16 fp8]

For a machine with a GPU: five minutes at most with the defaults. Nothing is downloaded: the names and shapes are those of the real
files (tests/fixtures/headers.json), the captions are random vectors of the length that a caption has. `--blocks 2` keeps two blocks
of each list, at their real width, which a CPU can do at 64 pixels. Losses of random weights say nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from kohya_bridge.architectures import architecture
from kohya_bridge.device.accelerator import Accelerator
from kohya_bridge.engines.native.host_side.opening import open_host
from kohya_bridge.engines.native.host_side.side import HostSide
from kohya_bridge.engines.training.lora import LoraNetwork, add_lora
from kohya_bridge.engines.training.objective import loss_B
from kohya_bridge.engines.training.precision import compute_dtype
from kohya_bridge.plan import BaseModelFacts
from kohya_bridge.settings import TrainingSettings
from kohya_bridge.workspace import PACK_ROOT
from scripts.host.comfy_install import find_comfyui
from scripts.host.launch import provide_torchvision

HEADERS = PACK_ROOT / "tests" / "fixtures" / "headers.json"
FORMATS = {"bf16": torch.bfloat16, "fp8": torch.float8_e4m3fn}


@dataclass(frozen=True)
class Family:
    """`blocks` of each list in the real file, whose header has two of them; a caption's `tokens` and their `width`."""

    header: str
    blocks: dict[str, int]
    tokens: int
    width: int


FAMILIES = {
    "zimage": Family("zimage", {"layers": 30, "noise_refiner": 2, "context_refiner": 2}, 128, 2560),
    "flux2_klein_base_4b": Family("flux2_klein_4b", {"double_blocks": 5, "single_blocks": 20}, 512, 7680),
}


def shapes_of(family: Family, most_blocks: int) -> dict[str, tuple[int, ...]]:
    """Every tensor of the real file, or of one with fewer blocks."""
    found: dict[str, tuple[int, ...]] = {}
    for name, size in json.loads(HEADERS.read_text("utf-8"))[family.header]["tensors"].items():
        first, _, rest = name.partition(".")
        number, _, inside = rest.partition(".")
        if first not in family.blocks:
            found[name] = tuple(size)
        elif number == "0":
            for block in range(min(family.blocks[first], most_blocks)):
                found[f"{first}.{block}.{inside}"] = tuple(size)
    return found


def write_model(
    file: Path, shapes: dict[str, tuple[int, ...]], stored: torch.dtype, blocks: Sequence[str]
) -> float:
    """Random weights: matrices of the blocks in that format, the rest in bf16. Returns the file's GB."""
    pool = torch.randn(1 << 20, generator=torch.Generator().manual_seed(0))
    state = {}
    for name, size in shapes.items():
        count, in_block = math.prod(size), name.partition(".")[0] in blocks
        drawn = pool.repeat(-(-count // len(pool)))[:count].view(size)
        if len(size) > 1:
            drawn = drawn * (count / size[0]) ** -0.5
        else:
            drawn = torch.ones(size) if "norm" in name and not name.endswith("bias") else drawn * 0.05
        state[name] = drawn.to(stored if in_block and len(size) == 2 else torch.bfloat16)
    save_file(state, file)
    return file.stat().st_size / 1e9


class Bench:
    """One model with a LoRA on every matrix, one picture and one caption."""

    def __init__(self, side: HostSide, family: Family, pixels: int, device: torch.device):
        self.settings = TrainingSettings(network_dim=32, network_alpha=32.0, gradient_checkpointing=True)
        began = time.perf_counter()
        self.model = side.load_model(set())
        self.load_s = time.perf_counter() - began
        self.network: LoraNetwork = add_lora(self.model, self.settings, seed=7, flat=False)
        self.begun = [each.detach().clone() for each in self.network.parameters()]
        self.model.arrange(self.settings)
        self.objective = self.model.objective(self.settings, device)
        of = architecture(side.family.name)
        edge = pixels // of.latent_stride
        draw = torch.Generator().manual_seed(1)
        self.clean = torch.randn(1, of.latent_channels, edge, edge, generator=draw).to(device)
        hidden = torch.randn(1, 1, family.tokens, family.width, generator=draw)
        self.condition = {"cross_attn": hidden.to(device, side.dtype)}
        self.sizes = torch.tensor(
            [[pixels, pixels, 0, 0, pixels, pixels]], dtype=torch.float32, device=device
        )
        self.device = device
        self.restart()

    def restart(self) -> None:
        """The LoRA and its optimiser as they were at the beginning."""
        with torch.no_grad():
            for parameter, before in zip(self.network.parameters(), self.begun, strict=True):
                parameter.copy_(before)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=1e-3)

    def step(self, number: int) -> float:
        """One step, whose noise and time follow from its number."""
        draw = torch.Generator().manual_seed(number)
        noise = torch.randn(self.clean.shape, generator=draw).to(self.device)
        time_at = self.objective.time_at(200 + 97 * number % 700)
        times = torch.tensor([time_at], device=self.device)
        noisy = self.objective.noisy(self.clean, noise, times)
        said = self.model.predict(noisy, times, self.condition, self.sizes)
        loss = loss_B(said, self.objective.target(self.clean, noise, times)).mean()
        torch.autograd.backward(loss)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return float(loss.detach())

    def digest(self) -> str:
        """SHA-256 of all the LoRA's weights."""
        found = hashlib.sha256()
        for parameter in self.network.parameters():
            found.update(parameter.detach().float().cpu().numpy().tobytes())
        return found.hexdigest()[:16]

    def resumed_digest(self, steps: int, folder: Path) -> str:
        """The same after all steps, of which the last is taken from a state on disk."""
        self.restart()
        for number in range(steps - 1):
            self.step(number)
        state = {
            "weights": [each.detach() for each in self.network.parameters()],
            "optimiser": self.optimiser.state_dict(),
        }
        torch.save(state, folder / "state.pt")
        self.restart()
        kept = torch.load(folder / "state.pt", weights_only=True, map_location=self.device)
        with torch.no_grad():
            for parameter, weight in zip(self.network.parameters(), kept["weights"], strict=True):
                parameter.copy_(weight)
        self.optimiser.load_state_dict(kept["optimiser"])
        self.step(steps - 1)
        return self.digest()


def measure(name: str, stored: str, chosen: argparse.Namespace, comfyui_dir: Path) -> dict[str, Any]:
    """One family in one format, as a row of figures."""
    accelerator = Accelerator.find(torch)
    device, dtype = torch.device(accelerator.type), compute_dtype("bf16", torch.device(accelerator.type))
    family = FAMILIES[name]
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        file = Path(folder) / f"{name}.safetensors"
        size_gb = write_model(file, shapes_of(family, chosen.blocks), FORMATS[stored], list(family.blocks))
        facts = BaseModelFacts(name=file.name, sha256="0" * 64, family=name)
        paths = {"base_model_file": file, "comfyui_dir": comfyui_dir, "cache_dir": Path(folder)}
        bench = Bench(HostSide(facts, paths, dtype=dtype, device=device), family, chosen.pixels, device)
        losses, took = [], []
        for number in range(chosen.steps):
            accelerator.synchronise()
            began = time.perf_counter()
            losses.append(bench.step(number))
            accelerator.synchronise()
            took.append(time.perf_counter() - began)
        straight, peak = bench.digest(), accelerator.peak_gib()
        resumed = bench.resumed_digest(chosen.steps, Path(folder))
    return {
        "family": name, "format": stored, "pixels": chosen.pixels, "file_gb": round(size_gb, 2), "layers": len(bench.network.modules),
        "load_s": round(bench.load_s, 1), "first_step_s": round(took[0], 2), "step_s": round(sorted(took[1:])[len(took[1:]) // 2], 3),
        "peak_gib": peak and round(peak, 1), "losses": [round(each, 3) for each in losses],
        "finite": all(map(math.isfinite, losses)), "straight": straight, "resumed": resumed, "same_bits": straight == resumed,
    }  # fmt: skip


def rows(chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    install = find_comfyui()
    provide_torchvision(str(install.torchvision_dir or ""))
    accelerator = Accelerator.find(torch)
    accelerator.make_repeatable()
    host = open_host(install.dir, torch.device(accelerator.type))
    yield {"comfyui": host.name, "torch": torch.__version__, "device": accelerator.describe().name}
    for name in chosen.families:
        for stored in chosen.formats:
            yield measure(name, stored, chosen, install.dir)
            accelerator.empty_cache()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--pixels", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument(
        "--blocks",
        type=int,
        choices=range(2, 1001),
        metavar="N",
        default=1000,
        help="most blocks of each list, 2 or more (default: all)",
    )
    parser.add_argument("--folder", type=Path, help="where the files are written meanwhile (12 GB)")
    chosen = parser.parse_args(arguments)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    found = []
    for row in rows(chosen):
        print(json.dumps(row), flush=True)
        found.append(row)
    return 0 if all(row.get("same_bits", True) and row.get("finite", True) for row in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
