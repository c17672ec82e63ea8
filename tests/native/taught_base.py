"""A base model that can draw something already, so that training on it generalises at first and overfits later.

The random base of the other tests has everything to learn; whatever a LoRA learns on it helps on every picture. This one was
taught smooth patterns, as a real base knows pictures: in any colours, or also around three of them, with captions that tell which.
Its text encoder is random, so a colour has many words: one alone would be lost among 77 tokens.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from tests.native_world import make_base, tokenizer_dir

TAUGHT_PICTURES, STEPS, BATCH, RATE = 256, 300, 16, 2e-3
COLOURS = {"red": (200, 60, 70), "green": (60, 170, 80), "blue": (60, 80, 200)}
"""What a character's pictures vary around."""
WORDS = {
    "red": "ruby crimson scarlet cherry rose blood brick wine rust coral tomato berry fire sunset maroon apple pepper "
    "lava copper salmon",
    "green": "leaf moss grass forest lime mint olive fern jade pine clover frog pear basil sage emerald meadow ivy "
    "cactus reed",
    "blue": "sky ocean navy azure cobalt sapphire denim ice lake river rain indigo sea cornflower steel midnight whale "
    "dusk peacock frost",
}


def pattern(seed, colour=None) -> Image.Image:
    """A smooth 64 px pattern in all colours, or around one."""
    rng = np.random.default_rng(seed)
    dots = rng.integers(0, 256, (3, 3, 3)).astype(float)
    if colour is not None:
        dots = np.array(colour) + rng.normal(0, 45, (1, 1, 3)) + rng.normal(0, 30, (3, 3, 3))
    small = Image.fromarray(dots.clip(0, 255).astype(np.uint8))
    return small.resize((64, 64), Image.Resampling.BICUBIC)


def make_characters(folder: Path, colours: list[str], captions: list[str], *, seed: int) -> Path:
    """A dataset with one picture for each of `colours`."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for number, (colour, said) in enumerate(zip(colours, captions, strict=True)):
        name = f"{number:04d}.png"
        pattern([seed, number], COLOURS[colour]).save(folder / "images" / name)
        rows.append({"file_name": name, "prompt": f"char_dot, {said}"})
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "captions.jsonl").write_text(lines, encoding="utf-8")
    return folder


def make_taught_base(folder: Path, *, knows_colours: bool) -> Path:
    """The tests' diffusers folder, with latents of unit variance and a U-Net that was trained from a seed.

    `knows_colours`: three quarters of what it was taught are patterns around a colour, captioned so; else all are in any colours.
    """
    import torch
    from diffusers import DDPMScheduler

    from kohya_bridge.engines.native.diffusers_side.models import load_base

    make_base(folder)
    kinds = [None, *WORDS] if knows_colours else [None]
    pixels = np.stack(
        [
            np.asarray(pattern([7, number], COLOURS.get(kinds[number % len(kinds)])))
            for number in range(TAUGHT_PICTURES)
        ]
    )
    pixels_BCHW = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    _scale_latents(folder, pixels_BCHW)
    base = load_base(folder, tokenizer_dir=tokenizer_dir())
    schedule = DDPMScheduler.from_pretrained(folder, subfolder="scheduler")
    with torch.no_grad():
        latents_BCHW = base.vae.encode(pixels_BCHW)
        captions = [WORDS.get(kind, "a pattern") for kind in kinds]
        hidden_KTD = base.text.encode(base.text.tokenize(captions, 75), 1).hidden
    unet = base.unet.requires_grad_(True).train()
    optimiser = torch.optim.AdamW(unet.parameters(), lr=RATE)
    torch.manual_seed(0)
    for step in range(STEPS):
        optimiser.param_groups[0]["lr"] = RATE / 2 * (1 + np.cos(np.pi * step / STEPS))
        chosen_B = torch.randint(0, TAUGHT_PICTURES, (BATCH,))
        clean_BCHW, hidden_BTD = latents_BCHW[chosen_B], hidden_KTD[chosen_B % len(kinds)]
        noise_BCHW, timesteps_B = torch.randn_like(clean_BCHW), torch.randint(0, 1000, (BATCH,))
        noisy_BCHW = schedule.add_noise(clean_BCHW, noise_BCHW, timesteps_B)
        said_BCHW = unet(noisy_BCHW, timesteps_B, encoder_hidden_states=hidden_BTD, return_dict=False)[0]
        optimiser.zero_grad()
        torch.nn.functional.mse_loss(said_BCHW, noise_BCHW).backward()
        optimiser.step()
    unet.save_pretrained(folder / "unet")
    return folder


def _scale_latents(folder: Path, pixels_BCHW) -> None:
    """Set the autoencoder's factor so that latents differ between pictures by about 1, as a real one's do."""
    import torch
    from diffusers import AutoencoderKL

    with torch.no_grad():
        latents = AutoencoderKL.from_pretrained(folder / "vae").encode(pixels_BCHW[:32]).latent_dist.mode()
    file = folder / "vae" / "config.json"
    config = json.loads(file.read_text("utf-8"))
    config["scaling_factor"] = 1 / float(latents.std(0).mean())
    file.write_text(json.dumps(config), encoding="utf-8")
