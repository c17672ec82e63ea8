"""Thinning: a loss series of any length as a few thousand rows that draw the same picture.

In: rows `[step, loss, loss_ema, lr]` in step order. Out: some of these rows, unchanged. The choice depends on the steps
alone, not on when it is made: a longer series keeps the same rows until its buckets double. Pure; standard library only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MOST_ROWS = 4000


def thin(rows: Sequence[Sequence[Any]], *, most: int = MOST_ROWS) -> list[Sequence[Any]]:
    """At most `most` of `rows`: of each bucket of steps the lowest and the highest loss, and the very last row.

    Buckets are `2^k` steps wide and begin at multiples of their width, so that two readers of one run, or one reader at
    two times, see the same rows. A loss that is no number (written as text) counts as the highest of its bucket: the
    step at which a run broke is never thinned away.
    """
    if len(rows) <= most:
        return list(rows)
    rows = sorted(rows, key=lambda row: row[0])  # they are, unless the file was spoilt
    width = bucket_width(rows[-1][0] - rows[0][0] + 1, most=most)
    kept: list[Sequence[Any]] = []
    first = 0
    while first < len(rows):
        bucket = rows[first][0] // width
        behind = first
        while behind < len(rows) and rows[behind][0] // width == bucket:
            behind += 1
        kept += _extremes(rows[first:behind])
        first = behind
    if kept[-1] is not rows[-1]:
        kept.append(rows[-1])
    return kept


def bucket_width(steps: int, *, most: int = MOST_ROWS) -> int:
    """The smallest power of two with which `steps` steps make fewer than `most / 2` buckets, ends included."""
    width = 1
    while 2 * (steps // width + 2) + 1 > most:
        width *= 2
    return width


def _extremes(bucket: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    heights = [_height(row) for row in bucket]
    lowest, highest = heights.index(min(heights)), heights.index(max(heights))
    return [bucket[at] for at in sorted({lowest, highest})]


def _height(row: Sequence[Any]) -> float:
    return float(row[1]) if isinstance(row[1], (int, float)) else float("inf")
