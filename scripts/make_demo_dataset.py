"""Draw the demo character again: pictures from CC0 art, captions from the same options that drew them.

    npm install --prefix build/dicebear @dicebear/core@9.4.3 @dicebear/lorelei@9.4.3 @resvg/resvg-js@2.6.2
    python scripts/make_demo_dataset.py [--workspace DIR] [--count 32]

In: scripts/demo_character.json and a seed. Out: `kohya/datasets/char_wren` of the workspace. The same seed draws the same set.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kohya_bridge.building.character import build_character, load_options  # noqa: E402
from kohya_bridge.captions import CaptionRow  # noqa: E402
from kohya_bridge.dataset import DatasetMetadata, export_pictures  # noqa: E402
from kohya_bridge.workspace import Workspace  # noqa: E402

TRIGGER = "char_wren"
SQUARE, TALL = (768, 768), (768, 960)
COLOURS = 48
METADATA = DatasetMetadata(
    character="Wren: a freckled young woman with short messy copper hair, drawn in ink line with flat colour.",
    lora_tag=TRIGGER,
    class_word="1woman",
    licence="CC0-1.0",
    source="Drawn with DiceBear 9.4.3 (https://www.dicebear.com) from the Lorelei avatar set "
    "(https://www.figma.com/community/file/1198749693280469639), by scripts/make_demo_dataset.py.",
    credit="Art: Lorelei by Lisa Wischofsky (https://www.instagram.com/lischi_art/), CC0 1.0.",
    release_approved=True,
    rating="sfw",
    absorb=("solo", "simple background"),
    notes="Hair, skin, freckles and drawing style are the same in every picture and stand in no caption: the trigger takes "
    "them over. What varies is captioned.",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workspace", default=str(ROOT / "training"))
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--seed", type=int, default=20)
    arguments = parser.parse_args()
    recipe = json.loads((ROOT / "scripts" / "demo_character.json").read_text("utf-8"))
    sheets = plan_pictures(recipe["drawn_as"], count=arguments.count, seed=arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number:03d}.png" for number in range(len(sheets))]
        draw(recipe, sheets, files)
        pictures = [flat_colours(Image.open(file)) for file in files]
        rows = [caption(choices, seed) for seed, choices in enumerate(sheets)]
        dataset = export_pictures(
            Workspace.at(arguments.workspace), TRIGGER, pictures, rows, mode="replace", metadata=METADATA
        )
    print(f"{dataset.slug}: {len(dataset.items)} pictures in {dataset.dir}")


def plan_pictures(drawn_as: dict, *, count: int, seed: int) -> list[dict[str, str]]:
    """Builder choices for each picture: every value of every category about equally often, in shuffled combination."""
    rng = random.Random(seed)
    columns = {}
    for category, values in drawn_as.items():
        names = list(values)
        # Categories that say "has something special" leave most pictures without it, so that no word is in all captions.
        without = {
            "shot": 1,
            "gaze": 14,
            "eyewear": 4,
            "accessories": 4,
            "headwear": 5,
            "angle": 2,
            "pose": 1,
        }.get(category, 0)
        deck = names + ["none"] * without
        cards = [deck[index % len(deck)] for index in range(count)]
        rng.shuffle(cards)
        columns[category] = cards
    sheets = [{category: cards[index] for category, cards in columns.items()} for index in range(count)]
    for choices in sheets:
        # The eyes of these expressions say it all, and dark glasses hide where a person looks.
        if choices["expression"] in ("laughing", "serene", "playful", "sleepy", "surprised") or choices["eyewear"] == "sunglasses":  # fmt: skip
            choices["gaze"] = "none"
        if choices["eyewear"] == "sunglasses" and choices["expression"] in ("laughing", "serene", "playful", "sleepy"):  # fmt: skip
            choices["eyewear"] = "none"
    return sheets


def draw(recipe: dict, sheets: list[dict[str, str]], files: list[Path]) -> None:
    """Let Node draw one file for each sheet of choices."""
    node, modules = shutil.which("node"), ROOT / "build" / "dicebear" / "node_modules"
    if node is None or not modules.is_dir():
        raise SystemExit(
            "Node.js with DiceBear is needed: see the first lines of this file for the one command."
        )
    pictures = []
    for index, (choices, file) in enumerate(zip(sheets, files, strict=True)):
        width, height = TALL if index % 4 == 3 else SQUARE
        pictures.append({"file": str(file), "width": width, "height": height, "options": options_of(recipe, choices)})  # fmt: skip
    # ES modules are looked up from the script's own folder, so the script runs from where the packages are.
    script = modules.parent / "draw_demo_character.mjs"
    shutil.copyfile(ROOT / "scripts" / "draw_demo_character.mjs", script)
    subprocess.run([node, str(script)], input=json.dumps({"pictures": pictures}), text=True, check=True)


def options_of(recipe: dict, choices: dict[str, str]) -> dict:
    """Lorelei's options for one picture; parts of the art are lists with one entry, placing is plain numbers."""
    options = {"seed": TRIGGER, **recipe["fixed"]}
    for category, choice in choices.items():
        for name, value in recipe["drawn_as"][category].get(choice, {}).items():
            placed = name in ("scale", "flip", "rotate")
            options[name] = value if placed else [value]
            if name in ("glasses", "earrings", "hairAccessories"):
                options[f"{name}Probability"] = 100
    # The neck ends below the frame, not in mid-air; a little to either side, so that no two pictures sit alike.
    options["translateY"] = {128: 11, 104: 9}.get(options["scale"], 15)
    options["translateX"] = random.Random(repr(sorted(choices.items()))).randint(-7, 7)
    return options


def caption(choices: dict[str, str], seed: int) -> CaptionRow:
    """The builder's words for what was drawn."""
    made = build_character(load_options(), choices={"gender": "woman", **choices}, seed=seed, trigger=TRIGGER, family="sd15")  # fmt: skip
    return CaptionRow("", made.caption, trigger=made.trigger, source="builder")


def flat_colours(picture: Image.Image) -> Image.Image:
    """The drawing with a small palette: flat art loses nothing by it and the files stay small."""
    return picture.convert("RGB").quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)


if __name__ == "__main__":
    main()
