"""How work grows with the length of a text: the time that a function takes for one of some length, and for one sixteen times as long.

Time is only compared with time of the same function a moment before, on this thread's own clock, so a slow or a busy machine gives
the same answer. Linear work gives about 16, quadratic 256.
"""

from __future__ import annotations

import gc
import itertools
import random
import time
from collections.abc import Callable, Iterator
from functools import lru_cache

TIMES = 16
MOST = 64.0
"""Between linear (16) and quadratic (256), at the geometric mean: four times the noise that either could have."""
LEAST_S = 0.002
"""What takes less than this for the long text is not worth a word, whatever its ratio."""

PIECES = (
    "9", "a", "A", "_", "(", ")", "[", "]", "{", "}", "<", ">", "|", ":", ".", "-", ",", "/", "\\", " ", "\n", "\t", "'", '"', "é", "*",
    "=", "~", "#", "`", "0", "@", "\u3000",
)  # fmt: skip
WORDS = (
    "BREAK", "no ", "a_", "__a", "a__", "(a:1", "(a:1.0)", "((", "))", "[(", ")]", "\\(", "\\)", "/home/", "C:\\", "char_x", "char_x ",
    "a, ", "negative prompt", "1.", ".1", "-1", ":1", "<lora:", "{a|", "|a}", "{{", "}}", "'s", "file://", "nude ", "not ", "<a", "a>",
)  # fmt: skip
PAIRED = ("9", "a", "_", "(", ")", "{", "<", ":", ".", ",", " ", "\n")
REPEATED = ("9", "a", " ", "_", "(a", "{a")
SIGNS = "()[]{}<>|:.,-_ /\\'\"*=#a1"
STARTS = (
    "(a:",
    "[a:",
    "(",
    "<",
    "__",
    "{",
    "{a|",
    "/home/",
    "C:\\",
    "char_x",
    "error: ",
    "in select_bucket ",
    "not found: ",
)


def texts(length: int) -> Iterator[tuple[str, str]]:
    """Texts of that many characters, each a piece again and again, or two of them: with what it is made of."""
    pairs = (f"{one}{other}" for one, other in itertools.permutations(PAIRED, 2))
    for piece in (*PIECES, *WORDS, *pairs):
        yield piece, (piece * (length // len(piece) + 1))[:length]
    for start, piece in itertools.product(STARTS, REPEATED):
        yield f"{start} once, {piece}", (start + piece * (length // len(piece) + 1))[:length]
    dice = random.Random(1)
    for name, letters in (
        ("letters", "abcdefghijklmnopqrstuvwxyz"),
        ("words", "abcdefgh   "),
        ("tags", "abcd ,,_"),
        ("signs", SIGNS),
    ):
        yield f"drawn {name}", "".join(dice.choices(letters, k=length))
    for opening, closing in (("(", ")"), ("[", "]"), ("{", "}"), ("<", ">"), ("__", "__")):
        half = length // 2
        yield f"{opening}..{closing}", (opening * half)[:half] + (closing * half)[:half]
        yield f"{opening}a..b{closing}", (f"{opening}a" * half)[:half] + (f"b{closing}" * half)[:half]


def worse_than_linear(work: Callable[[str], object], *, length: int = 250) -> dict[str, float]:
    """For which texts `work` grows much faster than the text, and how many times as long it takes for `TIMES` times as much."""
    found = {}
    for piece, short, long in _pairs(length):
        taken = _least(work, long, times=1)
        if taken > LEAST_S:  # so the short one's time can be told from nothing
            ratio = taken / max(_least(work, short, times=3), 1e-6)
            if ratio > MOST:  # or the machine did something else just then
                ratio = _least(work, long, times=3) / max(_least(work, short, times=30), 1e-6)
            if ratio > MOST:
                found[piece] = round(ratio)
    return found


@lru_cache(maxsize=2)
def _pairs(length: int) -> list[tuple[str, str, str]]:
    return [
        (piece, short, long)
        for (piece, short), (_, long) in zip(texts(length), texts(length * TIMES), strict=True)
    ]


def _least(work: Callable[[str], object], text: str, *, times: int) -> float:
    gc.disable()
    try:
        found = []
        for _ in range(times):
            began = time.thread_time()
            work(text)
            found.append(time.thread_time() - began)
        return min(found)
    finally:
        gc.enable()
