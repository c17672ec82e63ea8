"""The look of the sheets that this pack draws, and text that stays inside its box.

In: text of other people. Out: lines of printable characters that fit a width in pixels.
"""

from __future__ import annotations

from PIL import ImageDraw, ImageFont

PAPER, INK, SOFT, CARD = (24, 26, 30), (236, 238, 240), (150, 156, 164), (38, 41, 47)
ERROR, WARNING, INFO, CLEAN = (229, 72, 77), (240, 170, 60), (120, 134, 150), (70, 167, 98)
MOST_LETTERS = 1000


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font: the same on every machine."""
    return ImageFont.load_default(size)


def printable(text: str) -> str:
    """At most 1000 characters of `text`, with blanks for what can't be printed: names and captions are other people's."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:MOST_LETTERS])


def fitted(draw: ImageDraw.ImageDraw, text: str, width: float, size: int) -> str:
    """`text` on one line, cut with an ellipsis where it would be wider than `width` px."""
    text, face = printable(text), font(size)
    if draw.textlength(text, font=face) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if draw.textlength(text[:middle] + "...", font=face) <= width:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + "..."


def wrapped(draw: ImageDraw.ImageDraw, text: str, width: float, size: int) -> list[str]:
    """`text` broken at blanks into lines of at most `width` px; a longer word is cut."""
    lines: list[str] = []
    line = ""
    for word in printable(text).split():
        longer = f"{line} {word}".strip()
        if line and draw.textlength(longer, font=font(size)) > width:
            lines.append(line)
            longer = word
        line = longer
    return [fitted(draw, each, width, size) for each in (*lines, line) if each]
