"""The contact sheet: every picture as a thumbnail with its findings drawn on it.

In: a dataset and its report. Out: one RGB image. Colours: red blocks, amber warns, grey informs, green is clean.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from PIL import Image, ImageDraw

from ..counted import counted
from ..dataset import Dataset, DatasetItem
from ..datasets.pictures import DECODER_FAILURES, as_trained
from ..drawing import CARD, CLEAN, ERROR, INFO, INK, PAPER, SOFT, WARNING, fitted, font
from .finding import Finding, in_number
from .report import LintReport

COLOURS = {"error": ERROR, "warning": WARNING, "info": INFO, "clean": CLEAN}
GAP, HEADER, FOOTER = 14, 64, 46


def contact_sheet(
    dataset: Dataset,
    report: LintReport,
    *,
    cell: int = 220,
    columns: int = 6,
    most: int = 240,
    on_progress: Callable[[int, int], None] | None = None,
) -> Image.Image:
    """One image with a cell of `cell` px for each picture (at most `most`), the worst first. `on_progress(done, total)`
    counts pictures; what it raises ends the drawing."""
    by_subject = defaultdict(list)
    for finding in report.findings:
        by_subject[finding.subject].append(finding)
    worst = {"error": 0, "warning": 1, "info": 2, "clean": 3}
    items = sorted(dataset.items, key=lambda item: (worst[_worst(by_subject[item.name])], item.name))[:most]
    general = [each for each in report.findings if each.subject not in {item.name for item in dataset.items}]
    columns = max(3, min(columns, len(items)))
    rows = -(-len(items) // columns)
    listed = _general_lines(general)
    height = HEADER + rows * (cell + FOOTER + GAP) + GAP + (len(listed) * 20 + GAP if listed else 0)
    sheet = Image.new("RGB", (GAP + columns * (cell + GAP), height), PAPER)
    draw = ImageDraw.Draw(sheet)
    _header(draw, report, sheet.width)
    for index, item in enumerate(items):
        left = GAP + index % columns * (cell + GAP)
        top = HEADER + index // columns * (cell + FOOTER + GAP)
        _cell(sheet, draw, item, by_subject[item.name], left=left, top=top, cell=cell)
        if on_progress:
            on_progress(index + 1, len(items))
    y = HEADER + rows * (cell + FOOTER + GAP) + 4
    for colour, line in listed:
        draw.text((GAP, y), fitted(draw, line, sheet.width - 2 * GAP, 14), colour, font=font(14))
        y += 20
    return sheet


def _header(draw: ImageDraw.ImageDraw, report: LintReport, width: int) -> None:
    draw.text((GAP, 12), fitted(draw, report.slug, width // 2, 22), INK, font=font(22))
    counts = report.counts()
    verdict = "training has to wait" if report.blocks else "ready to train"
    draw.text((GAP, 39), fitted(draw, f"{counted(report.images, 'picture')}, {verdict}", width // 2, 14), SOFT, font=font(14))  # fmt: skip
    x = float(width - GAP)
    for severity in ("info", "warning", "error"):
        label = in_number(severity, counts[severity])
        wide = draw.textlength(label, font=font(14)) + 20
        x -= wide
        fill = COLOURS[severity] if counts[severity] else CARD
        draw.rounded_rectangle((x, 18, x + wide, 44), 13, fill=fill)
        draw.text((x + 10, 31), label, (255, 255, 255) if counts[severity] else SOFT, font=font(14), anchor="lm")  # fmt: skip
        x -= 8


def _cell(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, item: DatasetItem, findings: list[Finding],
    *, left: int, top: int, cell: int,
) -> None:  # fmt: skip
    colour = COLOURS[_worst(findings)]
    draw.rounded_rectangle((left - 3, top - 3, left + cell + 3, top + cell + FOOTER + 3), 6, fill=CARD, outline=colour, width=2)  # fmt: skip
    try:
        thumbnail = as_trained(item.file)
        thumbnail.thumbnail((cell, cell), Image.Resampling.LANCZOS, reducing_gap=2.0)
        sheet.paste(thumbnail, (left + (cell - thumbnail.width) // 2, top + (cell - thumbnail.height) // 2))
    except DECODER_FAILURES:
        draw.line((left + 40, top + 40, left + cell - 40, top + cell - 40), colour, 4)
        draw.line((left + cell - 40, top + 40, left + 40, top + cell - 40), colour, 4)
        draw.text((left + cell // 2, top + cell - 20), "not readable", SOFT, font=font(13), anchor="mm")
    x, y = left + 5.0, top + 5.0
    for each in _distinct(findings):
        wide = draw.textlength(each.rule, font=font(13)) + 12
        if x + wide > left + cell:
            x, y = left + 5.0, y + 25
        draw.rounded_rectangle((x, y, x + wide, y + 21), 5, fill=COLOURS[each.severity], outline=(255, 255, 255), width=1)  # fmt: skip
        draw.text((x + wide / 2, y + 10), each.rule, (255, 255, 255), font=font(13), anchor="mm")
        x += wide + 4
    draw.text((left + 6, top + cell + 5), fitted(draw, item.name, cell - 12, 13), INK, font=font(13))
    said = findings[0].problem if findings else item.caption
    draw.text((left + 6, top + cell + 24), fitted(draw, said, cell - 12, 12), colour if findings else SOFT, font=font(12))  # fmt: skip


def _worst(findings: list[Finding]) -> str:
    present = {each.severity for each in findings}
    return next((severity for severity in ("error", "warning", "info") if severity in present), "clean")


def _distinct(findings: list[Finding]) -> list[Finding]:
    return list({each.rule: each for each in findings}.values())


def _general_lines(findings: list[Finding]) -> list[tuple[tuple[int, int, int], str]]:
    lines = []
    for each in findings[:20]:
        where = f"{each.subject}: " if each.subject else ""
        lines.append((COLOURS[each.severity], f"{each.rule}  {where}{each.problem}"))
    if len(findings) > 20:
        lines.append(
            (SOFT, f"... and {counted(len(findings) - 20, 'more finding')}; see the text of the report")
        )
    return lines
