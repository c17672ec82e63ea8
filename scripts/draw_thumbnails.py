"""Draw the pictures that Browse Templates shows for our example workflows: `python -m scripts.draw_thumbnails`.

In: pictures of the demo character. Out: `example_workflows/<name>.jpg`: what the workflow does in words, and beside them what it
is about: the pictures that a LoRA learns from, the checkpoints to choose from, or the one picture that comes of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from .host.comfy_install import ROOT

WORKFLOWS_DIR = ROOT / "example_workflows"
PICTURES = sorted((ROOT / "training" / "kohya" / "datasets" / "char_wren" / "images").glob("*.png"))
WIDTH, HEIGHT = 768, 432
PAPER, INK, MUTED, ACCENT = "#1b1d22", "#f1f2f4", "#a7adb8", "#74aaff"


@dataclass(frozen=True)
class Thumbnail:
    """One workflow's picture: a heading, a word on what it is for, its steps, and what stands beside them."""

    name: str
    heading: str
    what_for: str
    steps: tuple[str, ...]
    aside: Callable[[], Image.Image]


def main() -> None:
    for each in THUMBNAILS:
        file = WORKFLOWS_DIR / f"{each.name}.jpg"
        draw(each).save(file, quality=86, optimize=True)
        print(f"{file.relative_to(ROOT)}: {file.stat().st_size // 1000} KB")


def draw(thumbnail: Thumbnail) -> Image.Image:
    sheet = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    sheet.paste(thumbnail.aside(), (WIDTH - HEIGHT, 0))
    pen = ImageDraw.Draw(sheet)
    pen.multiline_text((28, 34), thumbnail.heading, INK, ImageFont.load_default(36), spacing=6)
    top = 34 + 46 * (1 + thumbnail.heading.count("\n")) + 8
    pen.text((28, top), thumbnail.what_for, ACCENT, ImageFont.load_default(21))
    for number, step in enumerate(thumbnail.steps, 1):
        at = top + 16 + 36 * number
        pen.text((28, at), f"{number}", MUTED, ImageFont.load_default(21))
        pen.text((56, at), step, INK, ImageFont.load_default(21))
    return sheet


def grid(rows: int, *, first: int = 0, blur: tuple[float, ...] = (0.0,)) -> Image.Image:
    """`rows` by `rows` pictures from number `first` on; each row is as blurred as its place in `blur` says."""
    square = Image.new("RGB", (HEIGHT, HEIGHT))
    edge = HEIGHT // rows
    for number in range(rows * rows):
        with Image.open(PICTURES[(first + number) % len(PICTURES)]) as picture:
            tile = ImageOps.fit(picture.convert("RGB"), (edge, edge))
        tile = tile.filter(ImageFilter.GaussianBlur(blur[number // rows % len(blur)]))
        square.paste(tile, (number % rows * edge, number // rows * edge))
    return square


_TRAIN = ("Make prompts", "Check the pictures", "Train", "Judge", "Package", "Use it")
_USE = ("Make a prompt", "Load the LoRA", "Render")

THUMBNAILS = (
    Thumbnail("train_a_character", "Train a\ncharacter", "Stable Diffusion 1.5", _TRAIN, lambda: grid(4)),
    Thumbnail("train_an_sdxl_character", "Train a\ncharacter", "SDXL", _TRAIN, lambda: grid(4, first=16)),
    Thumbnail("train_a_zimage_character", "Train a\ncharacter", "Z-Image", _TRAIN, lambda: grid(4, first=8)),
    Thumbnail(
        "validate_a_run",
        "Judge a\ntraining",
        "Which checkpoint is best?",
        ("Choose a run", "Render a grid", "Read the verdict"),
        lambda: grid(3, first=12, blur=(9.0, 3.0, 0.0)),
    ),
    Thumbnail("use_a_trained_lora", "Use your\nLoRA", "Load Trained LoRA", _USE, lambda: grid(1, first=10)),
    Thumbnail(
        "use_with_the_stock_loader",
        "Use your\nLoRA",
        "ComfyUI's own Load LoRA",
        ("Package the run", *_USE),
        lambda: grid(1, first=13),
    ),
)


if __name__ == "__main__":
    main()
