"""Odd values, texts and damages, drawn by a seed.

In: a `random.Random`, and something sound to start from. Out: values that JSON or YAML may hold, texts that people may write, and
bytes that a disk may leave.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2**31, 2**53, 2**63, -(2**63), 10**30, 10**400, 1e308, float("nan"), float("inf"), 0.5, -0.0,
    "", " ", "x", "\0", "a\nb", "\r\n", "\u202egnp.exe", "\x1b[31mred\x1b[0m", "\x9b2J", "\ud800", "\U0001f600", "../../x", "/etc/passwd",
    "C:\\x", "\\\\host\\share", "file:///etc/passwd", "<script>alert(1)</script>", "$(touch x)", "%s%n", "1e999", "2001-99-99",
    "NaN", "9" * 5000, "a number of thousands of digits", "a" * 70_000, "(" * 3000, [], {}, [[]], [None], {"": 0}, {"__proto__": 1}, [0] * 2000, {"a": {"b": {"c": []}}},
)  # fmt: skip
PIECES = (
    "char_x", "a woman", ", ", "(", ")", "[", "]", "{", "}", "<lora:x:1>", "\\", ":", "1.2", "9", "-", "_", ".", "'", '"', "`", "#", "&a", "*a", "!!python/object:x",
    "\n", "\r", "\t", " ", "  ", "\0", "\x1b[2J", "\u202e", "\u2066", "\ufeff", "\u0301", "\U0001f600", "\ud800", "é", "ß", "İ", "ﬃ", "AND", "BREAK",
    "../", "/", "C:", "%", "$", "~", "|", "- ", "? ", "---", "...", "Error", "CUDA out of memory", "RuntimeError: ", "File \"", "http://", "@",
)  # fmt: skip


def value(dice: random.Random) -> Any:
    return dice.choice(VALUES)


def text(dice: random.Random, *, most: int = 4096) -> str:
    """Pieces one after the other, or one piece very often: what a scan that looks back takes a long time for."""
    if dice.random() < 0.25:
        piece = dice.choice(PIECES) + dice.choice(("", "", "a", dice.choice(PIECES)))
        return (
            dice.choice(PIECES)
            + piece * dice.randrange(1, 40_000 // len(piece))
            + dice.choice(("", "x", dice.choice(PIECES)))
        )
    return "".join(dice.choice(PIECES) for _ in range(dice.randrange(1, 1 + most // 8)))


def altered(dice: random.Random, told: Any) -> Any:
    """Parsed JSON or YAML with one to three of its places changed, gone, doubled or under another name."""
    for _ in range(dice.randint(1, 3)):
        told = _alter(dice, told)
    return told


def _alter(dice: random.Random, told: Any) -> Any:
    if not isinstance(told, dict | list) or not told or dice.random() < 0.08:
        return value(dice)
    places = list(told) if isinstance(told, dict) else list(range(len(told)))
    place = dice.choice(places)
    changed = dict(told) if isinstance(told, dict) else list(told)
    way = dice.random()
    if way < 0.45 and isinstance(told[place], dict | list) and told[place]:
        changed[place] = _alter(dice, told[place])
    elif way < 0.75:
        changed[place] = value(dice)
    elif way < 0.87:
        del changed[place]
    elif isinstance(changed, dict):
        changed[dice.choice(("x", "", "../x", "\u202e", str(place) * 2))] = value(dice)
    else:
        changed.insert(0, value(dice))
    return changed


def damaged(dice: random.Random, data: bytes) -> bytes:
    """Bytes after an accident: flipped, cut, torn in the middle, doubled, zeroed, or quite other ones."""
    raw = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(raw) + 1)
        way = dice.choice(
            ("flip", "flip", "cut", "zeros", "double", "insert", "lose", "random", "deep", "digits")
        )
        if way == "flip" and raw:
            raw[min(at, len(raw) - 1)] ^= 1 << dice.randrange(8)
        elif way == "cut":
            del raw[at:]
        elif way == "zeros":
            raw[at : at + 64] = bytes(64)
        elif way == "double":
            raw += raw[at : at + 4096]
        elif way == "insert":
            raw[at:at] = text(dice, most=200).encode("utf-8", "surrogatepass")
        elif way == "lose":
            del raw[at : at + dice.randrange(1, 200)]
        elif way == "random":
            raw[at : at + 8] = dice.randbytes(8)
        elif way == "digits":
            raw[at:at] = b"9" * 5000
        elif way == "deep":
            raw[at:at] = dice.choice((b"[", b'{"a":', b"(")) * dice.choice((50, 5000, 100_000))
    return bytes(raw)


def damaged_json(dice: random.Random, data: bytes) -> bytes:
    """A JSON file that parses mostly, but says something odd; every fourth one is damaged as bytes."""
    if dice.random() < 0.25:
        return damaged(dice, data)
    return _dumped(altered(dice, json.loads(data)))


def damaged_lines(dice: random.Random, data: bytes) -> bytes:
    """JSON lines of which one to three are odd, are told twice, or stand elsewhere."""
    if dice.random() < 0.25:
        return damaged(dice, data)
    lines = data.splitlines() or [b"{}"]
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(lines))
        way = dice.random()
        if way < 0.7:
            lines[at] = _dumped(altered(dice, _parsed(lines[at])))
        elif way < 0.85:
            lines.insert(dice.randrange(len(lines)), lines[at])
        else:
            lines[at], lines[0] = lines[0], lines[at]
    return b"\n".join(lines) + b"\n"


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return {}


_LONG = "a number of thousands of digits"
"""Stands for what Python reads nowhere and writes nowhere."""


def _dumped(told: Any) -> bytes:
    return (
        json.dumps(told, ensure_ascii=False)
        .replace(f'"{_LONG}"', "9" * 5000)
        .encode("utf-8", "surrogatepass")
    )


Damage = Callable[[random.Random, bytes], bytes]


def damage_for(name: str) -> Damage:
    """How a file of that name is damaged in the most searching way."""
    if name.endswith(".jsonl"):
        return damaged_lines
    if name.endswith(".json"):
        return damaged_json
    return damaged_yaml if name.endswith((".yaml", ".yml")) else damaged


def damaged_yaml(dice: random.Random, data: bytes) -> bytes:
    """JSON is YAML; what only YAML has (dates, aliases, tags) comes as text."""
    import yaml

    if dice.random() < 0.3:
        return damaged(dice, data)
    try:
        told = altered(dice, yaml.safe_load(data))
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError):
        return damaged(dice, data)  # what an earlier damage left is no YAML
    if dice.random() < 0.3 and isinstance(told, dict) and told:
        place = dice.choice(list(told))
        odd = dice.choice(
            (
                "2001-99-99",
                "&a [*a]",
                "!!python/object/apply:os.system ['true']",
                "0o777",
                "1:30:00",
                "~",
                "? x",
                "{",
                "0x" + "f" * 5000,
            )
        )
        return f"{place}: {odd}\n".encode("utf-8", "surrogatepass") + b"".join(
            _dumped({name: each})[1:-1] + b"\n" for name, each in told.items() if name != place
        )
    return _dumped(told)
