"""Train the demo base's autoencoder, a TAESD, on crops of its own pictures.

    python -m scripts.demo_base.train_autoencoder build/base/pictures.npz build/base/autoencoder.safetensors --steps 900

Out: weights under diffusers' names, from which a later call goes on, and `autoencoder.log.jsonl` beside them. The residual
blocks that cost most (those at full and half size) are left out in training and stay zero in the file, where they hand their
input on: flat art does without.
Latents are held to mean 0 and spread 1, which is what the U-Net's noise schedule expects.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from .optimiser import MasteredMuon
from .pictures import read_pictures

LEFT_OUT = ("encoder.layers.1", "encoder.layers.4", "encoder.layers.5", "encoder.layers.9",
            "decoder.layers.9", "decoder.layers.13", "decoder.layers.14", "decoder.layers.17")  # fmt: skip
CROP, BATCH = 64, 24
RATE = 2e-3
WARM_UP, COOL_DOWN = 30, 0.5  # steps; share of all steps
LATENT_NOISE = 0.08  # what the decoder has to bear: about the error of a sampled latent


def slim_autoencoder() -> AutoencoderTiny:
    """A TAESD with the left-out blocks replaced by what a block of zeros does."""
    torch.manual_seed(0)
    model = AutoencoderTiny()
    for name in LEFT_OUT:
        part, _, number = name.split(".")
        getattr(model, part).layers[int(number)] = nn.ReLU()
    return model.to(torch.bfloat16).to(memory_format=torch.channels_last)


def full_autoencoder(file: Path) -> AutoencoderTiny:
    """The trained autoencoder in fp32 with all of its blocks, as the checkpoint holds it."""
    model = AutoencoderTiny()
    model.load_state_dict({**{name: torch.zeros_like(each) for name, each in model.state_dict().items()}, **load_file(file)})  # fmt: skip
    return model.eval().requires_grad_(False)


def full_state_for(model: nn.Module, file: Path) -> dict[str, torch.Tensor]:
    """The file's weights that a slim model has a place for."""
    whole = full_autoencoder(file).state_dict()
    return {name: whole[name] for name in model.state_dict()}


def crops(pictures: torch.Tensor, generator: torch.Generator, whole: float) -> torch.Tensor:
    """Random crops (B, 3, 64, 64) in [-1, 1]; a share of `whole` are whole pictures made small."""
    chosen = pictures[torch.randint(len(pictures), (BATCH,), generator=generator)]
    pixels = chosen.permute(0, 3, 1, 2).float() / 127.5 - 1
    cut = []
    for number, picture in enumerate(pixels):
        if number < BATCH * whole:
            small = functional.interpolate(picture[None], (CROP, CROP), mode="area")[0]
            cut.append(small)
            continue
        y, x = torch.randint(picture.shape[-1] - CROP + 1, (2,), generator=generator).tolist()
        cut.append(picture[:, y : y + CROP, x : x + CROP])
    batch = recoloured(torch.stack(cut), generator)
    return batch.to(torch.bfloat16).contiguous(memory_format=torch.channels_last)


def recoloured(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Every second picture (B, 3, H, W) with its channels swapped and bent, black and white staying as they are.

    Without this, an autoencoder draws a colour that it has never met as a patchwork of its neighbours.
    """
    made = pixels.clone()
    for number in range(0, len(pixels), 2):
        order = torch.randperm(3, generator=generator)
        power = 2 ** (2 * torch.rand(3, 1, 1, generator=generator) - 1)
        made[number] = ((pixels[number, order] + 1) / 2).clamp(0, 1) ** power * 2 - 1
    return made


def picture_loss(made: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Absolute and squared difference, and the difference of neighbouring pixels' differences for crisp lines."""
    made, real = made.float(), real.float()
    plain = functional.l1_loss(made, real) + 2 * functional.mse_loss(made, real)
    edges = sum(functional.l1_loss(made.diff(dim=axis), real.diff(dim=axis)) for axis in (-1, -2))
    return plain + edges


def spread_loss(latents: torch.Tensor) -> torch.Tensor:
    """Zero when each of the four latents has mean 0 and variance 1 over the batch."""
    flat = latents.float().transpose(0, 1).flatten(1)
    return (flat.mean(dim=1).square() + flat.var(dim=1).log().square()).mean()


def rate_at(step: int, steps: int) -> float:
    left = (steps - step) / (steps * COOL_DOWN)
    return RATE * min(1.0, (step + 1) / WARM_UP, left)


@torch.no_grad()
def psnr(model: AutoencoderTiny, pictures: torch.Tensor) -> float:
    """Mean PSNR in dB of whole pictures (N, H, W, 3) uint8."""
    pixels = pictures.permute(0, 3, 1, 2).float() / 127.5 - 1
    weight = next(model.parameters())
    made = model.decode(model.encode(pixels.to(weight.dtype)).latents).sample.float().clamp(-1, 1)
    errors = (made - pixels).square().mean(dim=(1, 2, 3)) / 4
    return float((-10 * errors.log10()).mean())


def train(pictures_file: Path, file: Path, *, steps: int, decoder_only: bool, whole: float) -> None:
    pictures, _, held_out = read_pictures(pictures_file)
    seen, unseen = torch.from_numpy(pictures[~held_out]), torch.from_numpy(pictures[held_out])[::20]
    model = slim_autoencoder()
    if file.is_file():
        model.load_state_dict(full_state_for(model, file))
    model.encoder.requires_grad_(not decoder_only)
    optimiser = MasteredMuon(model, ends=("encoder.layers.0", "encoder.layers.14", "decoder.layers.0", "decoder.layers.18"))  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    began = time.monotonic()
    with file.with_suffix(".log.jsonl").open("a", encoding="utf-8", buffering=1) as log:
        for step in range(steps):
            pixels = crops(seen, generator, whole)
            latents = model.encode(pixels).latents
            noise = torch.randn(latents.shape, generator=generator).to(latents)
            loss = picture_loss(model.decode(latents + LATENT_NOISE * noise).sample, pixels)
            (loss + 0.02 * spread_loss(latents)).backward()
            optimiser.step(rate_at(step, steps))
            if step % 20 == 19 or step == steps - 1:
                quality = psnr(model, unseen[:16])
                row = {"part": "decoder" if decoder_only else "both", "step": step + 1, "loss": round(loss.item(), 4), "psnr_held_out": round(quality, 2),
                       "latent_std": round(float(latents.float().std()), 3), "seconds": round(time.monotonic() - began)}  # fmt: skip
                print(json.dumps(row), file=log)
            if step % 200 == 199 or step == steps - 1:
                _save(model, optimiser, file)
    print(f"{file}: {psnr(full_autoencoder(file), unseen):.2f} dB on held-out pictures")


def _save(model: AutoencoderTiny, optimiser: MasteredMuon, file: Path) -> None:
    with optimiser.mean_weights():
        part = file.with_suffix(".part")
        save_file({name: each.float().half().contiguous() for name, each in {**model.state_dict(), **optimiser.means}.items()}, part)  # fmt: skip
        part.replace(file)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pictures", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument(
        "--decoder-only",
        action="store_true",
        help="train the decoder only: latents stay as they are",
    )
    parser.add_argument(
        "--whole", type=float, default=1 / 3, help="share of whole pictures, made small, among the crops"
    )
    chosen = parser.parse_args()
    train(
        chosen.pictures,
        chosen.file,
        steps=chosen.steps,
        decoder_only=chosen.decoder_only,
        whole=chosen.whole,
    )


if __name__ == "__main__":
    main()
