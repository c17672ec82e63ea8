"""The trainer's view as one picture: beside each original what is left of it, below it the caption with the cut part marked.

In: a dataset and its `TrainerView`s. Out: one RGB image.
"""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image, ImageDraw

from ..counted import counted
from ..dataset import Dataset, DatasetItem
from ..drawing import CARD, ERROR, INK, PAPER, SOFT, WARNING, fitted, font, wrapped
from ..engine_names import FIRST_ENGINE
from ..errors import InvalidInput
from ..files import open_named
from .pictures import DECODER_FAILURES, flattened, opened, upright
from .trainer_view import TrainerView, trained_pixels

GAP, HEADER, LINE = 14, 58, 17
CAPTION_LINES = 4


def trainer_sheet(
    dataset: Dataset,
    views: tuple[TrainerView, ...],
    *,
    engine: str = FIRST_ENGINE,
    cell: int = 230,
    columns: int = 3,
    most: int = 120,
    on_progress: Callable[[int, int], None] | None = None,
) -> Image.Image:
    """One image; each picture takes two squares of `cell` px, original and trained crop. At most `most` pictures.
    `on_progress(done, total)` counts pictures; what it raises ends the drawing."""
    items = dataset.items[:most]
    columns = max(1, min(columns, len(items)))
    wide, high = 2 * cell + 6, cell + 12 + (2 + CAPTION_LINES) * LINE
    rows = -(-len(items) // columns)
    sheet = Image.new("RGB", (max(520, GAP + columns * (wide + GAP)), HEADER + rows * (high + GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 10), fitted(draw, f"What {engine} will see of {dataset.slug}", sheet.width - 28, 20), INK, font=font(20))  # fmt: skip
    draw.text((GAP, 36), "left: the picture with its crop; right: the pixels that are trained; red words are cut off", SOFT, font=font(13))  # fmt: skip
    for index, (item, view) in enumerate(zip(items, views, strict=False)):
        left, top = GAP + index % columns * (wide + GAP), HEADER + index // columns * (high + GAP)
        draw.rounded_rectangle((left - 4, top - 4, left + wide + 4, top + high), 6, fill=CARD)
        _pictures(sheet, draw, item, view, engine, left, top, cell)
        _words(draw, view, left, top + cell + 4, wide)
        if on_progress:
            on_progress(index + 1, len(items))
    return sheet


def _pictures(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, item: DatasetItem, view: TrainerView, engine: str,
    left: int, top: int, cell: int,
) -> None:  # fmt: skip
    try:
        trained = trained_pixels(item, view, engine=engine)
        with open_named(item.file) as stream, opened(stream) as stored:
            original = flattened(upright(stored), background=(255, 255, 255))
    except (InvalidInput, *DECODER_FAILURES):
        draw.text((left + 10, top + cell // 2), fitted(draw, view.problem or "not readable", 2 * cell - 20, 15), ERROR, font=font(15))  # fmt: skip
        return
    place = view.placement
    factor = _paste(sheet, original, left, top, cell)
    if place and not view.turned:
        scale = factor * original.width / place.resized[0]
        x = left + (cell - original.width * factor) / 2 + place.crop_left * scale
        y = top + (cell - original.height * factor) / 2 + place.crop_top * scale
        draw.rectangle((x, y, x + place.bucket[0] * scale - 1, y + place.bucket[1] * scale - 1), outline=WARNING, width=2)  # fmt: skip
    _paste(sheet, trained, left + cell + 6, top, cell)


def _paste(sheet: Image.Image, picture: Image.Image, left: int, top: int, cell: int) -> float:
    """Paste a picture centred in its square; returns the factor by which it was scaled."""
    factor = min(cell / picture.width, cell / picture.height)
    size = max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
    small = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    sheet.paste(small, (left + (cell - size[0]) // 2, top + (cell - size[1]) // 2))
    return factor


def _words(draw: ImageDraw.ImageDraw, view: TrainerView, left: int, top: int, wide: int) -> None:
    facts = [f"{view.size[0]}x{view.size[1]}"]
    if view.placement:
        facts.append(f"bucket {view.placement.bucket[0]}x{view.placement.bucket[1]}")
        facts.append(
            f"{'enlarged' if view.scale > 1.001 else 'scaled'} {view.scale:.2f}, {view.cropped:.0%} cropped"
        )
    facts += [part for part in (view.turned, view.transparency) if part]
    if view.tokens is not None:
        facts.append(f"{counted(view.tokens, 'token')}")
    is_odd = bool(view.scale > 1.001 or view.lost or view.turned or view.transparency)
    draw.text((left, top), fitted(draw, view.name, wide, 13), INK, font=font(13))
    draw.text((left, top + LINE), fitted(draw, "   ".join(facts), wide, 12), WARNING if is_odd else INK, font=font(12))  # fmt: skip
    lines = [(line, SOFT) for line in wrapped(draw, view.read or "(empty caption)", wide, 12)]
    lines += [(line, ERROR) for line in wrapped(draw, view.lost, wide, 12)]
    if len(lines) > CAPTION_LINES:
        lost = [line for line in lines if line[1] == ERROR][:2]
        lines = lines[: CAPTION_LINES - len(lost)] + lost
    for number, (line, colour) in enumerate(lines[:CAPTION_LINES]):
        draw.text((left, top + 2 * LINE + 3 + number * LINE), line, colour, font=font(12))
