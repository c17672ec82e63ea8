"""JSON as every reader takes it: the one door for what leaves, and for records that anybody may have written.

In: plain values. Out: text that is JSON by its standard and can be sent as UTF-8. JSON has no NaN and no infinity: such a number
leaves as the word that Python prints for it ("nan", "inf"), which is how a run's losses tell of it everywhere; half of a surrogate
pair leaves as U+FFFD. Reading takes the same care: a number that JSON does not have, or of more digits than any of ours, comes as
its text, so that whoever needs a number there refuses that one value. Standard library only.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from .breathing import breathe

ROWS_AT_ONCE = 20
MOST_DIGITS = 300
_HALF = re.compile("[\ud800-\udfff]")


def write(value: Any, **options: Any) -> str:
    """`json.dumps` with `options`, for whatever is in `value`. Raises TypeError for what is no plain value, ValueError for a value
    that holds itself."""
    try:
        text = json.dumps(value, allow_nan=False, **options)
    except ValueError:
        text = ""
    if not text or (_HALF.search(text) if not text.isascii() else "\\ud" in text):
        text = json.dumps(plain(value), allow_nan=False, **options)
    return _HALF.sub("\ufffd", text)  # what `default` made is text as well


def write_in_parts(value: Any, *, depth: int = 3) -> str:
    """`write(value, ensure_ascii=False)`, one part after the other: the encoder keeps the interpreter for as long as one call of it takes,
    which is milliseconds for a series of a thousand rows. As a reader takes it, the text is the same."""
    breathe()
    if depth and isinstance(value, dict) and all(type(key) is str for key in value):
        rows = (
            f"{write(name, ensure_ascii=False)}:{write_in_parts(each, depth=depth - 1)}"
            for name, each in value.items()
        )
        return f"{{{','.join(rows)}}}"
    if depth and isinstance(value, (list, tuple)) and len(value) > ROWS_AT_ONCE:
        starts = range(0, len(value), ROWS_AT_ONCE)
        return f"[{','.join(_rows(value[at : at + ROWS_AT_ONCE]) for at in starts)}]"
    return write(value, ensure_ascii=False)


def _rows(values: Any) -> str:
    breathe()
    return write(values, ensure_ascii=False)[1:-1]


def read(text: str | bytes) -> Any:
    """The value of JSON text. Raises ValueError, also for what is nested too deep."""
    try:
        return json.loads(text, parse_constant=str, parse_float=_float, parse_int=_int)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def plain(value: Any) -> Any:
    """`value` as JSON can hold it."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str):
        return value if value.isascii() else _whole(value)
    if isinstance(value, dict):
        return {_key(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value


def _key(key: Any) -> Any:
    return plain(key) if isinstance(key, (str, float)) else key


def _whole(text: str) -> str:
    """`text` with its pairs joined, and U+FFFD for what is half of one."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _float(digits: str) -> float | str:
    number = float(digits)
    return number if math.isfinite(number) else digits


def _int(digits: str) -> int | str:
    return int(digits) if len(digits) <= MOST_DIGITS else digits
