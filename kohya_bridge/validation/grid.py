"""The labelled grid: pictures in rows and columns, each label legible at 100 %, nothing cut off and nothing scaled up.

In: pictures (or gaps) row by row, and labels. Out: one RGB picture, or its `GridLayout` alone. Column and row bands grow
with their labels, never the other way round, so a 64-pixel cell has a readable label too. Knows no checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from .cells import GridPlan, column_letters

BACKGROUND = (250, 250, 250)
INK = (24, 24, 24)
QUIET_INK = (96, 96, 96)
GAP_FILL = (228, 228, 228)
MOST_PIXELS = 64_000_000
SMALLEST_FONT_PX, LARGEST_FONT_PX = 15, 30
MOST_LINES = 26
"""A label may have so many; a prompt that fills CLIP's window needs twenty beside a small picture."""
ELLIPSIS = "…"

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels of the grid picture; right and bottom are outside."""


@dataclass(frozen=True)
class Text:
    """Lines of text in a box, drawn from its top, already wrapped."""

    lines: tuple[str, ...]
    box: Box
    centred: bool
    quiet: bool = False


@dataclass(frozen=True)
class GridLayout:
    """Where everything stands. `cells[row][column]` is the room of a picture, which is centred in it."""

    size: tuple[int, int]
    font_px: int
    cells: tuple[tuple[Box, ...], ...]
    texts: tuple[Text, ...]


def compose_grid(
    pictures: Sequence[Sequence[Image.Image | None]],
    *,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    title: str = "",
    footer: str = "",
) -> Image.Image:
    """`pictures[row][column]` as one labelled picture; None leaves a marked gap.

    Pictures keep their size unless the grid would pass 64 million pixels; then all are shrunk by one factor.
    """
    pictures = _shrunk_to_fit(
        [[None if each is None else each.convert("RGB") for each in row] for row in pictures]
    )
    sizes = [each.size for row in pictures for each in row if each is not None] or [(64, 64)]
    cell = (max(width for width, _ in sizes), max(height for _, height in sizes))
    layout = layout_grid(
        (len(pictures), len(pictures[0])), cell, rows=rows, columns=columns, title=title, footer=footer
    )
    canvas = Image.new("RGB", layout.size, BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    for row, boxes in zip(pictures, layout.cells, strict=True):
        for picture, box in zip(row, boxes, strict=True):
            _draw_cell(canvas, draw, picture, box, layout.font_px)
    font = label_font(layout.font_px)
    for text in layout.texts:
        _draw_text(draw, text, font, layout.font_px)
    return canvas


def compose_plan(
    plan: GridPlan, pictures: dict[str, Image.Image], *, title: str = "", footer: str = ""
) -> Image.Image:
    """A planned grid. `pictures` maps `Render.key` to what was rendered; missing ones leave gaps.

    Column letters and row numbers stand before the labels, so that "B2" in a note finds its cell.
    """
    table: list[list[Image.Image | None]] = [[None] * len(plan.column_labels) for _ in plan.row_labels]
    for each in plan.cells:
        table[each.row][each.column] = pictures.get(each.render.key)
    shared = ", ".join([*filter(None, [title]), *plan.common])
    rows = [f"{index + 1}: {label}".strip(": ") for index, label in enumerate(plan.row_labels)]
    columns = [
        f"{column_letters(index)}: {label}".strip(": ") for index, label in enumerate(plan.column_labels)
    ]
    return compose_grid(table, rows=rows, columns=columns, title=shared, footer=footer)


def layout_grid(
    shape: tuple[int, int],
    cell: tuple[int, int],
    *,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    title: str = "",
    footer: str = "",
) -> GridLayout:
    """The geometry of a grid of `shape` (rows, columns) whose largest picture is `cell` (width, height) pixels."""
    row_count, column_count = shape
    font_px = min(LARGEST_FONT_PX, max(SMALLEST_FONT_PX, cell[0] // 24))
    line_px, margin = _line_height(font_px), font_px // 2
    font = label_font(font_px)

    column_texts = _padded(columns, column_count)
    row_texts = _padded(rows, row_count)
    cell_width = max(cell[0], 9 * font_px if any(column_texts) else 3 * font_px)
    gutter = 0
    if any(row_texts):
        most = max(14 * font_px, cell[0] // 2)
        gutter = min(most, max(_widest_line(each, font) for each in row_texts)) + margin
    wrapped_columns = [_wrap(each, font, cell_width, lines=MOST_LINES) for each in column_texts]
    column_band = line_px * max(map(len, wrapped_columns)) + (margin if any(column_texts) else 0)
    wrapped_rows = [_wrap(each, font, gutter - margin, lines=MOST_LINES) for each in row_texts]
    cell_height = max(cell[1], line_px * max(1, *map(len, wrapped_rows)))

    width = margin + gutter + column_count * (cell_width + margin)
    if title or footer:
        width = max(width, 24 * font_px)
    title_lines = _wrap(title, font, width - 2 * margin, lines=MOST_LINES)
    footer_lines = _wrap(footer, font, width - 2 * margin, lines=4)
    top = margin + (line_px * len(title_lines) + margin if title_lines else 0)
    first_cell_y = top + column_band
    bottom = first_cell_y + row_count * (cell_height + margin)
    height = bottom + (line_px * len(footer_lines) + margin if footer_lines else 0)

    lefts = [margin + gutter + index * (cell_width + margin) for index in range(column_count)]
    tops = [first_cell_y + index * (cell_height + margin) for index in range(row_count)]
    texts = []
    if title_lines:
        texts.append(
            Text(title_lines, (margin, margin, width - margin, margin + line_px * len(title_lines)), False)
        )
    if footer_lines:
        texts.append(Text(footer_lines, (margin, bottom, width - margin, height - margin), False, quiet=True))
    for left, lines in zip(lefts, wrapped_columns, strict=True):
        start = top + column_band - margin - line_px * len(lines)
        if lines:
            texts.append(Text(lines, (left, start, left + cell_width, start + line_px * len(lines)), True))
    for y, lines in zip(tops, wrapped_rows, strict=True):
        if lines:
            start = y + (cell_height - line_px * len(lines)) // 2
            texts.append(Text(lines, (margin, start, gutter, start + line_px * len(lines)), False))
    boxes = tuple(tuple((x, y, x + cell_width, y + cell_height) for x in lefts) for y in tops)
    return GridLayout((width, height), font_px, boxes, tuple(texts))


@lru_cache(maxsize=32)
def label_font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu Sans where the system has it, for its wide range of letters, else the font inside Pillow."""
    try:
        return ImageFont.truetype("DejaVuSans.ttf", size_px)
    except OSError:
        return ImageFont.load_default(size_px)


def _wrap(
    text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int, *, lines: int
) -> tuple[str, ...]:
    """`text` in at most `lines` lines of at most `width` pixels.

    When there is not room for all, the longest paragraph is cut first and ends in an ellipsis: under a long prompt the
    line with its seed stays.
    """
    paragraphs = [wrapped for each in text.split("\n") if (wrapped := _wrap_paragraph(each, font, width))]
    while sum(map(len, paragraphs)) > max(lines, 1):
        longest = max(paragraphs, key=len)
        if len(longest) == 1:
            paragraphs.pop()
            continue
        longest.pop()
        longest[-1] = _ending_in_ellipsis(longest[-1], font, width)
    return tuple(line for paragraph in paragraphs for line in paragraph)


def _wrap_paragraph(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    wrapped: list[str] = []
    current = ""
    for piece in (piece for word in text.split() for piece in _pieces(word, font, width)):
        joined = f"{current} {piece}".strip()
        if current and font.getlength(joined) > width:
            wrapped.append(current)
            current = piece
        else:
            current = joined
    return [*wrapped, current] if current else wrapped


def _ending_in_ellipsis(line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    line = line.removesuffix(ELLIPSIS)
    while line and font.getlength(line + ELLIPSIS) > width:
        line = line[:-1].rstrip()
    return line + ELLIPSIS


def _pieces(word: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """A word cut into parts that fit into `width`; nearly always the word itself."""
    pieces: list[str] = []
    while font.getlength(word) > width and len(word) > 1:
        fits = max(1, next((n for n in range(len(word), 0, -1) if font.getlength(word[:n]) <= width), 1))
        pieces.append(word[:fits])
        word = word[fits:]
    return [*pieces, word] if word else pieces


def _shrunk_to_fit(pictures: list[list[Image.Image | None]]) -> list[list[Image.Image | None]]:
    there = [each for row in pictures for each in row if each is not None]
    if not there:
        return pictures
    pixels = max(each.width for each in there) * max(each.height for each in there)
    factor = math.sqrt(min(1.0, MOST_PIXELS / (pixels * len(pictures) * len(pictures[0]))))
    if factor == 1.0:
        return pictures
    return [
        [
            each and each.resize((max(1, int(each.width * factor)), max(1, int(each.height * factor))))
            for each in row
        ]
        for row in pictures
    ]


def _draw_cell(
    canvas: Image.Image, draw: ImageDraw.ImageDraw, picture: Image.Image | None, box: Box, font_px: int
) -> None:
    left, top, right, bottom = box
    if picture is not None:
        canvas.paste(
            picture, (left + (right - left - picture.width) // 2, top + (bottom - top - picture.height) // 2)
        )
        return
    draw.rectangle((left, top, right - 1, bottom - 1), fill=GAP_FILL)
    font = label_font(font_px)
    lines = _wrap("not rendered", font, right - left, lines=2)
    height = _line_height(font_px) * len(lines)
    middle = top + (bottom - top - height) // 2
    _draw_text(draw, Text(lines, (left, middle, right, middle + height), True, quiet=True), font, font_px)


def _draw_text(
    draw: ImageDraw.ImageDraw, text: Text, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, font_px: int
) -> None:
    left, y, right, _ = text.box
    for line in text.lines:
        x = left + (right - left - font.getlength(line)) / 2 if text.centred else left
        draw.text((x, y), line, font=font, fill=QUIET_INK if text.quiet else INK)
        y += _line_height(font_px)


def _line_height(font_px: int) -> int:
    return math.ceil(font_px * 1.25)


def _widest_line(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    return math.ceil(max((font.getlength(line) for line in text.split("\n")), default=0))


def _padded(labels: Sequence[str], count: int) -> list[str]:
    return [*labels, *[""] * (count - len(labels))][:count]
