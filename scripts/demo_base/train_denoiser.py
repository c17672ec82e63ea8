"""Train the demo base's U-Net: a few thousand drawn pictures, their captions, noise prediction.

    python -m scripts.demo_base.train_denoiser build/base --side 8 --steps 400 --batch 64
    python -m scripts.demo_base.train_denoiser build/base --side 16 --steps 1200 --batch 16 --cool 400

Reads `pictures.npz` and `autoencoder.safetensors` of the folder. Keeps `denoiser.state.safetensors` (weights, momenta, mean:
a later call goes on from there), `denoiser.log.jsonl` and `samples/`. A first stage on pictures of 64 px costs a quarter and
teaches what words mean; the second sharpens at 128 px. With `--workers N`, N processes of one thread each train alone for a few
steps, then go on from the mean of their weights: on a busy machine far faster than threads that wait for each other.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.models.resnet import ResnetBlock2D
from safetensors.torch import load_file, save_file

from kohya_bridge.engines.native.diffusers_side.ldm_keys import unet_modules
from kohya_bridge.engines.native.diffusers_side.models import SCHEDULE
from kohya_bridge.engines.native.diffusers_side.unet import build_unet
from kohya_bridge.models.base_models import UNET_PREFIX
from kohya_bridge.models.unet_shape import UNetShape

from .captions import training_caption
from .encoded import Words, latents_of
from .optimiser import PRECISIONS, MasteredMuon
from .pictures import read_pictures
from .preview import save_preview
from .shape import BASE_UNET, LEFT_OUT, seeded_time

WARM_UP = 20
SAVE_EVERY_S = 480
CAPTIONS_EACH = 2  # different ones of each picture
MEET_EVERY = 8  # steps that workers take alone
WEIGHT = (0.2, 10.0)  # bounds of the loss's weight, see `loss_weight`


@dataclass(frozen=True)
class Stage:
    """One stretch: latents' side, steps, pictures in each worker's step, learning rate, steps of cooling down at its end."""

    side: int
    steps: int
    batch: int
    rate: float
    cool: int

    def rate_at(self, step: int) -> float:
        left = (self.steps - step) / self.cool if self.cool else 1.0
        return self.rate * min(1.0, left)


def new_denoiser(
    shape: UNetShape = BASE_UNET, precision: torch.dtype = torch.bfloat16
) -> UNet2DConditionModel:
    """The U-Net before training: usual random weights, but it hands its input on to its output.

    That is the right answer where nearly all is noise, so training starts with what a picture is. The two signs of each latent
    make up for the last activation: silu(x) - silu(-x) = x.
    """
    torch.manual_seed(0)
    unet = build_unet(shape, "sd15").to_empty(device="cpu").requires_grad_(True)
    modules = unet_modules(shape)
    seeded = {}
    for name, tensor in seeded_time(width=shape.channels[0]).items():
        module, _, kind = name.removeprefix(UNET_PREFIX).rpartition(".")
        seeded[f"{modules[module]}.{kind}"] = torch.from_numpy(tensor)
    with torch.no_grad():
        for name, each in unet.named_parameters():
            if name in seeded:
                each.copy_(seeded[name]).requires_grad_(False)
            elif each.dim() == 1:
                each.fill_(1.0 if name.endswith("weight") else 0.0)
            else:
                quiet = name.endswith(("conv2.weight", "proj_out.weight"))
                each.normal_(std=(0.1 if quiet else 0.6) / float(np.prod(each.shape[1:])) ** 0.5)
        _hand_on(unet, width=shape.channels[0])
        for name in LEFT_OUT:
            _leave_out(unet.get_submodule(name))
    return unet.to(precision).to(memory_format=torch.channels_last)


def _leave_out(block: ResnetBlock2D) -> None:
    """Make the block hand on its input (through its 1x1 shortcut, where it has one), and spend no time on the rest."""
    shortcut = block.conv_shortcut
    for name, each in block.named_parameters():
        if not name.startswith("conv_shortcut"):
            each.zero_().requires_grad_(False)
    block.forward = lambda hidden, time: hidden if shortcut is None else shortcut(hidden)


def _hand_on(unet: UNet2DConditionModel, *, width: int) -> None:
    line = torch.arange(width)
    sign = torch.where(line // 4 % 2 == 0, 1.0, -1.0)
    unet.conv_in.weight[line, line % 4, 1, 1] += sign
    unet.conv_out.weight[:] *= 0.1
    unet.conv_out.weight[line % 4, line, 1, 1] += sign * (8 / width)
    # the last residual block gets the first convolution's output as the second half of its input
    shortcut = unet.up_blocks[-1].resnets[-1].conv_shortcut.weight
    shortcut[:] *= 0.3
    shortcut[line, width + line, 0, 0] += 1.0


def loss_weight(sigma: torch.Tensor) -> torch.Tensor:
    """Weight of each timestep's squared error of the noise: `sigma`, the ratio of noise to picture, within bounds.

    Weight 1 would neglect composition, which is decided where `sigma` is large; `sigma^2` is the picture's error and would
    neglect detail.
    """
    return sigma.clamp(*WEIGHT) / 2


class Run:
    """A training run of one worker: model, optimiser, data, and the files of its folder.

    `precision` is the number format of the model, not of its masters: a state may go on in another one.
    """

    def __init__(
        self, folder: Path, stage: Stage, *, rank: int, workers: int, tokenizer_dir: Path,
        precision: torch.dtype = torch.bfloat16, shape: UNetShape = BASE_UNET,
    ):  # fmt: skip
        self.folder, self.stage, self.rank, self.workers = folder, stage, rank, workers
        self.precision = precision
        self.model = new_denoiser(shape, precision)
        self.optimiser = MasteredMuon(self.model, ends=("conv_in", "conv_out"))
        self.state_file = folder / "denoiser.state.safetensors"
        if self.state_file.is_file():
            self.optimiser.load(load_file(self.state_file))
        self.tokenizer_dir = tokenizer_dir
        self.hidden = load_file(captions_file(folder, tokenizer_dir))["hidden"].to(precision)
        self.latents = load_file(latents_file(folder, stage.side))["latents"]
        alphas = DDPMScheduler(**SCHEDULE).alphas_cumprod
        self.signal, self.noise = alphas.sqrt(), (1 - alphas).sqrt()
        key = self.optimiser.steps * 64 + rank
        self.generator = torch.Generator().manual_seed(key)

    def loss(self) -> tuple[torch.Tensor, torch.Tensor]:
        """This worker's share of a step: the weighted loss, and the plain error of the noise (no gradient)."""
        count = self.stage.batch
        picked = torch.randint(len(self.latents), (count,), generator=self.generator)
        versions = torch.randint(CAPTIONS_EACH, (count,), generator=self.generator)
        hidden = self.hidden[picked * CAPTIONS_EACH + versions]
        # one timestep of each of `count` equal parts of the schedule: less chance in the loss
        parts = (torch.arange(count) + torch.rand(count, generator=self.generator)) / count
        steps = (parts * 1000).long().clamp(max=999)
        clean = self.latents[picked].float()
        noise = torch.randn(clean.shape, generator=self.generator)
        signal, spread = self.signal[steps][:, None, None, None], self.noise[steps][:, None, None, None]
        noisy = (signal * clean + spread * noise).to(self.precision)
        noisy = noisy.contiguous(memory_format=torch.channels_last)
        errors = (self.model(noisy, steps, hidden).sample.float() - noise).square().mean(dim=(1, 2, 3))
        weights = loss_weight(self.noise[steps] / self.signal[steps])
        return (weights * errors).mean(), errors.detach().mean()

    def meet(self) -> None:
        """Every worker goes on from the mean of all workers' weights and momenta (local SGD, Stich 2019)."""
        if self.workers == 1:
            return
        for held in (self.optimiser.masters, self.optimiser.first):
            flat = torch.cat([each.flatten() for each in held.values()])
            dist.all_reduce(flat)
            flat /= self.workers
            parts = flat.split([each.numel() for each in held.values()])
            for each, part in zip(held.values(), parts, strict=True):
                each.copy_(part.view_as(each))
        self.optimiser.show_masters()

    def train(self) -> None:
        began = saved = time.monotonic()
        recent: list[tuple[float, float]] = []
        for step in range(self.stage.steps):
            loss, error = self.loss()
            loss.backward()
            warm = min(1.0, (self.optimiser.steps + 1) / WARM_UP)
            self.optimiser.step(self.stage.rate_at(step) * warm)
            recent.append((loss.item(), error.item()))
            is_last = step == self.stage.steps - 1
            if step % MEET_EVERY == MEET_EVERY - 1 or is_last:
                self.meet()
            if self.rank == 0 and (step % 20 == 19 or is_last):
                self._note(step + 1, recent, time.monotonic() - began)
                recent.clear()
            if self.rank == 0 and (is_last or time.monotonic() - saved > SAVE_EVERY_S):
                self._save()
                saved = time.monotonic()

    def _note(self, step: int, recent: list[tuple[float, float]], seconds: float) -> None:
        loss, error = np.mean(recent, axis=0)
        row = {"step": self.optimiser.steps, "side": self.stage.side, "batch": self.stage.batch * self.workers, "loss": round(float(loss), 4),
               "noise_error": round(float(error), 4), "rate": round(self.stage.rate_at(step - 1), 6), "seconds": round(seconds)}  # fmt: skip
        with (self.folder / "denoiser.log.jsonl").open("a", encoding="utf-8") as log:
            print(json.dumps(row), file=log)

    def _save(self) -> None:
        part = self.state_file.with_suffix(".part")
        save_file({name: each.contiguous() for name, each in self.optimiser.state().items()}, part)
        os.replace(part, self.state_file)
        with self.optimiser.mean_weights():
            words = Words(self.tokenizer_dir)
            name = f"{self.optimiser.steps:05d}"
            save_preview(self.model, words, self.folder, side=self.stage.side, name=name)


def latents_file(folder: Path, side: int) -> Path:
    """The latents of all training pictures; made where they are missing."""
    file = folder / f"latents-{side}.safetensors"
    if not file.is_file():
        pictures, _, held_out = read_pictures(folder / "pictures.npz")
        latents = latents_of(pictures[~held_out], folder / "autoencoder.safetensors", side=side)
        save_file({"latents": latents.contiguous()}, file)
    return file


def captions_file(folder: Path, tokenizer_dir: Path) -> Path:
    """Conditioning (pictures times `CAPTIONS_EACH`, 77, 768) in bf16 of all training pictures' captions; made where missing."""
    file = folder / "captions.safetensors"
    if not file.is_file():
        _, choices, held_out = read_pictures(folder / "pictures.npz")
        chance, words = random.Random(0), Words(tokenizer_dir)
        kept = [each for each, out in zip(choices, held_out, strict=True) if not out]
        captions = [training_caption(each, chance) for each in kept for _ in range(CAPTIONS_EACH)]
        parts = [words(captions[start : start + 64]) for start in range(0, len(captions), 64)]
        save_file({"hidden": torch.cat(parts)}, file)
    return file


def work(
    rank: int, folder: Path, stage: Stage, workers: int, tokenizer_dir: Path, precision: torch.dtype
) -> None:
    """One worker, from start to end."""
    torch.set_num_threads(1 if workers > 1 else torch.get_num_threads())
    torch.set_flush_denormal(True)
    if workers > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder.resolve()}/workers", rank=rank, world_size=workers)  # fmt: skip
    Run(folder, stage, rank=rank, workers=workers, tokenizer_dir=tokenizer_dir, precision=precision).train()
    if workers > 1:
        dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--side", type=int, default=16, help="of the latents: an eighth of the pictures' side"
    )
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument(
        "--cool", type=int, default=0, help="steps at the end in which the rate falls to nothing"
    )
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="bf16",
        help="fp32 is many times faster on a CPU without bf16",
    )
    parser.add_argument("--tokenizer", type=Path, required=True, help="ComfyUI's comfy/sd1_tokenizer")
    chosen = parser.parse_args()
    stage = Stage(chosen.side, chosen.steps, chosen.batch, chosen.rate, chosen.cool)
    (chosen.folder / "workers").unlink(missing_ok=True)
    latents_file(chosen.folder, stage.side)
    captions_file(chosen.folder, chosen.tokenizer)
    given = (chosen.folder, stage, chosen.workers, chosen.tokenizer, PRECISIONS[chosen.precision])
    if chosen.workers == 1:
        work(0, *given)
    else:
        torch.multiprocessing.spawn(work, args=given, nprocs=chosen.workers)


if __name__ == "__main__":
    main()
