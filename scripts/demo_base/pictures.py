"""The pictures that the demo's base model learns from, with what is to be seen in each.

    npm install --prefix build/dicebear @dicebear/core@9.4.3 @dicebear/lorelei@9.4.3 @resvg/resvg-js@2.6.2 \
        @lobehub/fluent-emoji-3d@1.1.0
    python -m scripts.demo_base.pictures build/base/pictures.npz [--people 6400] [--things 1600]

In: `world.json` and a seed. Out: pictures (N, 128, 128, 3) uint8, a JSON line of builder choices for each, and which are held
out: every fourth pair of hair style and hair colour, or of subject and background, is never trained on. Part of the people have a
hair style or colour that no word names, so that the base can draw more than it has words for; a LoRA's word comes later.
"""

from __future__ import annotations

import argparse
import colorsys
import hashlib
import json
import random
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / "build" / "dicebear" / "node_modules"
WORLD = json.loads((Path(__file__).parent / "world.json").read_text("utf-8"))
SIDE = 128
HAIRS = {f"variant{number:02}" for number in range(1, 49)}  # all of Lorelei's
UNNAMED = 0.3  # share of people whose hair style, and likewise whose hair colour, has no name
CHARACTER_HAIR = "variant20"  # the demo character's, kept out of everything here
CHARACTER_COLOUR = (181, 83, 42)  # likewise, RGB
ALIKE = 40  # distance in RGB within which a hair colour counts as the character's
Choices = dict[str, str]
"""Builder category to option. `_hair` and `_colour` are a style's drawing and a colour's hex that no option names."""


def is_held_out(choices: Choices) -> bool:
    """Whether this combination is kept from training. It depends on the names alone; unnamed hair is always trained on."""
    if "subject" not in choices and not {"hair_style", "hair_colour"} <= choices.keys():
        return False
    pair = (
        (choices["subject"], choices["background"])
        if "subject" in choices
        else (choices["hair_style"], choices["hair_colour"])
    )
    return hashlib.sha256("/".join(pair).encode()).digest()[0] % 4 == 0


def plan_person(rng: random.Random) -> Choices:
    """What one avatar shows, as names of the builder's options."""
    people = WORLD["people"]
    choices = {}
    if rng.random() < UNNAMED:
        choices["_hair"] = rng.choice(sorted(HAIRS - {CHARACTER_HAIR}))
        choices["gender"] = rng.choice(("man", "woman"))
    else:
        choices["hair_style"] = rng.choice(list(people["hair_style"]))
        choices["gender"] = "man" if choices["hair_style"] in WORLD["men"] else "woman"
    if rng.random() < UNNAMED:
        choices["_colour"] = unnamed_colour(rng)
    else:
        choices["hair_colour"] = rng.choice(list(people["hair_colour"]))
    for name in ("skin", "expression"):
        choices[name] = rng.choice(list(people[name]))
    choices["background"] = rng.choice(list(WORLD["background"]))
    for name, odds in (("eyewear", 0.3), ("face", 0.3), ("accessories", 0.25), ("shot", 0.7), ("pose", 0.3)):
        if rng.random() < odds:
            choices[name] = rng.choice(list(people[name]))
    if rng.random() < 0.3:
        choices["angle"] = "facing left"
    return choices


def unnamed_colour(rng: random.Random) -> str:
    """Any hair colour, as hex, but the character's and its like."""
    while True:
        rgb = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.3, 0.9), rng.uniform(0.35, 0.95))
        colour = [round(255 * each) for each in rgb]
        if sum((a - b) ** 2 for a, b in zip(colour, CHARACTER_COLOUR, strict=True)) > ALIKE**2:
            return bytes(colour).hex()


def plan_thing(rng: random.Random) -> Choices:
    return {
        "subject": rng.choice(list(WORLD["subjects"])),
        "background": rng.choice(list(WORLD["background"])),
    }


def options_of(choices: Choices, rng: random.Random) -> dict[str, object]:
    """Lorelei's options for one avatar. Where a builder option has several drawings, chance picks one."""
    people = WORLD["people"]
    scale = people["shot"].get(choices.get("shot", ""), 86)
    return {
        "seed": "base",
        "head": [rng.choice(["variant02", "variant03", "variant04"])],
        "nose": [rng.choice(["variant01", "variant03", "variant04"])],
        "hair": [choices.get("_hair") or rng.choice(people["hair_style"][choices["hair_style"]])],
        "hairColor": [choices.get("_colour") or people["hair_colour"][choices["hair_colour"]]],
        "skinColor": [people["skin"][choices["skin"]]],
        "backgroundColor": [WORLD["background"][choices["background"]]],
        **{name: [value] for name, value in people["expression"][choices["expression"]].items()},
        "glasses": [people["eyewear"].get(choices.get("eyewear", ""), "variant01")],
        "glassesProbability": 100 if "eyewear" in choices else 0,
        "freckles": ["variant01"],
        "frecklesProbability": 100 if "face" in choices else 0,
        "earrings": [people["accessories"].get(choices.get("accessories", ""), "variant01")],
        "earringsProbability": 100 if "accessories" in choices else 0,
        "beardProbability": 0, "hairAccessoriesProbability": 0,
        "flip": "angle" in choices,
        "rotate": people["pose"].get(choices.get("pose", ""), 0),
        "scale": scale,
        # the neck ends below the frame, as in the demo character's pictures
        "translateY": {128: 11, 104: 9}.get(scale, 15),
        "translateX": rng.randint(-7, 7),
    }  # fmt: skip


def draw_people(sheets: list[Choices], rng: random.Random) -> np.ndarray:
    """Avatars (N, 128, 128, 3), drawn by Node with the demo character's own script."""
    if shutil.which("node") is None or not MODULES.is_dir():
        raise SystemExit("Node.js and the packages are needed: see the first lines of this file.")
    script = MODULES.parent / "draw_demo_character.mjs"
    shutil.copyfile(ROOT / "scripts" / "draw_demo_character.mjs", script)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.png" for number in range(len(sheets))]
        pictures = [
            {"file": str(file), "width": SIDE, "height": SIDE, "options": options_of(choices, rng)}
            for choices, file in zip(sheets, files, strict=True)
        ]
        told = json.dumps({"pictures": pictures})
        subprocess.run([str(shutil.which("node")), str(script)], input=told, text=True, check=True)
        return np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])


def draw_thing(choices: Choices, rng: random.Random) -> np.ndarray:
    """One of the subjects, somewhere near the middle of a plain background, (128, 128, 3)."""
    file = (
        MODULES / "@lobehub" / "fluent-emoji-3d" / "assets" / f"{WORLD['subjects'][choices['subject']]}.webp"
    )
    side = rng.randint(80, 104)
    subject = Image.open(file).convert("RGBA").resize((side, side), Image.Resampling.LANCZOS)
    canvas = Image.new("RGBA", (SIDE, SIDE), "#" + WORLD["background"][choices["background"]])
    corner = tuple((SIDE - side) // 2 + rng.randint(-7, 7) for _ in range(2))
    canvas.alpha_composite(subject, (corner[0], corner[1]))
    return np.asarray(canvas.convert("RGB"))


def make_pictures(people: int, things: int, seed: int) -> tuple[np.ndarray, list[Choices]]:
    """Pictures (N, 128, 128, 3) and their choices, people first."""
    rng = random.Random(seed)
    sheets = [plan_person(rng) for _ in range(people)]
    drawn = draw_people(sheets, rng)
    others = [plan_thing(rng) for _ in range(things)]
    more = [draw_thing(choices, rng) for choices in others]
    return np.concatenate([drawn, np.stack(more)]), sheets + others


def read_pictures(file: Path) -> tuple[np.ndarray, list[Choices], np.ndarray]:
    """Pictures, choices, and a mask (N,) of what is held out."""
    with np.load(file, allow_pickle=False) as found:
        choices = [json.loads(line) for line in found["choices"]]
        return found["pictures"], choices, np.array([is_held_out(each) for each in choices])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--people", type=int, default=6400)
    parser.add_argument("--things", type=int, default=1600)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    pictures, choices = make_pictures(chosen.people, chosen.things, chosen.seed)
    chosen.file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(chosen.file, pictures=pictures, choices=np.array([json.dumps(each) for each in choices]))
    print(f"{chosen.file}: {len(pictures)} pictures, {sum(map(is_held_out, choices))} held out")


if __name__ == "__main__":
    main()
