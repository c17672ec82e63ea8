"""What an event must look like before anybody acts on it: numbers where numbers belong, and names that stay in the run folder.

In: a JSON object from a line that anybody may have written. Out: whether it is an event as our own children write them. One that
is not is passed over like a torn line, and hides nothing else. Standard library only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

EVENT_VERSION = 1
MOST_STEPS = 1_000_000_000
_DECODER = json.JSONDecoder(
    parse_constant=str
)  # JSON has no NaN; as text it is what our own writer makes of one
EVENT_KINDS: dict[str, str] = {
    "queued": "The desk put the run in line for the GPU slot: `position`.",
    "run_started": "An attempt begins: `attempt`, `engine`, `pid`, `total`, `resumed_from` (step, 0 for a fresh start).",
    "phase": "What the child is doing: `name` (loading, caching, training, validating, saving), `done` and `total`.",
    "progress": "One optimizer step: `step`, `total`, `epoch`, `loss`, `loss_ema`, `lr` (name to value), "
    "`seconds_per_step`, `eta_s`, `vram_gib`.",
    "validation": "Held-out measure at fixed noise and timesteps: `step`, `loss`, `loss_low`, `loss_high` (95 % interval "
    "over items), `psnr` (dB, one-step x0), `train_loss` (same measure on as many training items), `items`, `cells` (losses of "
    "each item and timestep, where the engine tells them), `measured_on` (digest of what it was measured on).",
    "checkpoint": "A LoRA file is complete on disk: `step`, `file` (relative to the run folder), `sha256`, `bytes`, `final`.",
    "state": "A full resume state is complete on disk: `step`, `dir` (relative), `removed` (older states deleted).",
    "sample": "A picture was rendered: `step`, `file` (relative), `prompt`, `seed`.",
    "best": "The chosen checkpoint changed: `step`, `file`, `reason`.",
    "notice": "Something a person should know: `level` (info, warning, error), `problem`, `fix`, `code`.",
    "control": "A request was taken up: `action` (stop, pause, resume, lend, take_back, checkpoint, sample), `stage` "
    "(acknowledged, done); of take_back also the `reason`.",
    "run_finished": "The attempt is over: `outcome` (completed, stopped, failed), `step`, `problem`, `fix`, `evidence`, "
    "`code` (a short name of the cause).",
}

_CHECKPOINT = re.compile(r"checkpoints/[^/\\:\x00-\x1f]{1,250}\.safetensors")
_STATE = re.compile(r"states/step[0-9]{8}")
_SAMPLE = re.compile(r"samples/(?!\.{1,2}$)[^/\\:\x00-\x1f]{1,250}")
_NOT_FINITE = ("nan", "inf", "-inf", "NaN", "Infinity", "-Infinity")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def parse_line(line: str | bytes) -> dict[str, Any] | None:
    """The event on a line, None for anything else."""
    try:
        text = line if isinstance(line, str) else line.decode("utf-8")
        event = _DECODER.decode(text)
        if not isinstance(event, dict) or not is_sound(event):
            return None
        if (
            event["kind"] != "progress" or "\\u" in text
        ):  # what is sent on is JSON again: no infinity, no half character
            json.dumps(event, allow_nan=False, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        return None
    return event


def what_is_wrong(line: bytes) -> str:
    """Why `parse_line` takes a line for no event, as the rest of a sentence that begins with the line's number."""
    try:
        event = _DECODER.decode(line.decode("utf-8"))
    except UnicodeDecodeError:
        return "it is not UTF-8 text"
    except RecursionError:
        return "it is nested too deep"
    except ValueError:
        return "it is not JSON"
    if not isinstance(event, dict):
        return "it is not a JSON object"
    names = ("kind", "seq", "time", *_REQUIRED.get(str(event.get("kind")), ("step",)), *event)
    wrong = next((name for name in names if not _fits(event, name)), None)
    if wrong is None:
        return "it holds a number or a character that JSON does not have"
    if wrong not in event:
        return f"it has no `{wrong}`"
    return f"its `{wrong[:40]}` can't be {ascii(event[wrong])[:60]}"


def _fits(event: dict[str, Any], name: str) -> bool:
    kind = event.get("kind")
    if name in _OF_ALL:
        return name in event and _OF_ALL[name](event[name])
    if name not in event:
        return kind != "progress" and name not in _REQUIRED.get(str(kind), ())
    check = _OF_KIND.get(str(kind), _NONE).get(name) or _FIELDS.get(name)
    return check is None or check(event[name])


def is_sound(event: dict[str, Any]) -> bool:
    """Whether an event has what its kind must have, and nothing of a kind that would mislead its readers."""
    kind = event.get("kind")
    if not isinstance(kind, str) or not _count(event.get("seq")) or not _time(event.get("time")):
        return False
    get = event.get
    if kind == "progress":  # nearly all events are of this kind, and a long run has a hundred thousand
        counts = _step(get("step")) and all(v is None or _step(v) for v in (get("total"), get("epoch")))
        return counts and _progress(get) and _rates(get("lr"))
    if any(name not in event for name in _REQUIRED.get(kind, ())):
        return False
    own = _OF_KIND.get(kind, _NONE)
    checks = ((own.get(name) or _FIELDS.get(name), value) for name, value in event.items())
    return all(check is None or check(value) for check, value in checks)


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= 10**15


def _step(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MOST_STEPS


def _number(value: Any) -> bool:
    return type(value) in (int, float) and -1e300 < value < 1e300


def _time(value: Any) -> bool:
    """Seconds since the epoch that every system can write as a date."""
    return type(value) in (int, float) and 0 <= value < 1e11


def _maybe_number(value: Any) -> bool:
    return value is None or _number(value)


def _measure(value: Any) -> bool:
    """A number, the text of one that is not finite, or none."""
    kind = type(value)
    return (
        value is None
        or (kind is float and value - value == 0.0)
        or _number(value)
        or (kind is str and value in _NOT_FINITE)
    )


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _maybe(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def _like(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _rates(value: Any) -> bool:
    return value is None or (isinstance(value, dict) and all(map(_measure, value.values())))


def _cells(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(map(_measure, value)))


def _removed(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(map(_like(_STATE), value)))


def _progress(get: Callable[[str], Any]) -> bool:
    """Losses may be no numbers; what is added up, compared or shown with its digits is one."""
    numbers = (
        _maybe_number(get("seconds_per_step"))
        and _maybe_number(get("eta_s"))
        and _maybe_number(get("vram_gib"))
    )
    return numbers and _measure(get("loss")) and _measure(get("loss_ema"))


_NONE: dict[str, Callable[[Any], bool]] = {}
_REQUIRED = {
    "phase": ("name",),
    "validation": ("step",),
    "checkpoint": ("step", "file"),
    "state": ("step", "dir"),
    "sample": ("file",),
    "best": ("step", "file", "reason"),
    "notice": ("level", "problem", "fix"),
    "control": ("action", "stage"),
    "run_finished": ("outcome",),
}
_FIELDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("step", "total", "epoch", "attempt", "resumed_from"), _maybe(_step)),
    **dict.fromkeys(("position", "pid", "bytes", "items", "done"), _maybe(_count)),
    **dict.fromkeys(("loss", "loss_ema", "loss_low", "loss_high", "psnr", "train_loss"), _measure),
    **dict.fromkeys(("seconds_per_step", "eta_s", "vram_gib"), _maybe_number),
    **dict.fromkeys(
        ("name", "engine", "problem", "fix", "evidence", "code", "level", "prompt", "version", "measured_on"),
        _maybe(_text),
    ),
    **dict.fromkeys(("action", "stage", "reason", "outcome"), _text),
    "lr": _rates,
    "cells": _cells,
    "removed": _removed,
    "final": _maybe(lambda value: isinstance(value, bool)),
    "sha256": _like(_SHA256),
}
"""Fields that mean the same in every kind; others are shown as they are, or not at all."""
_OF_ALL: dict[str, Callable[[Any], bool]] = {"kind": _text, "seq": _count, "time": _time}
_OF_KIND: dict[str, dict[str, Callable[[Any], bool]]] = {
    "progress": {"step": _step},
    "validation": {"step": _step},
    "checkpoint": {"step": _step, "file": _like(_CHECKPOINT)},
    "state": {"step": _step, "dir": _like(_STATE)},
    "sample": {"file": _like(_SAMPLE)},
    "best": {"step": _step, "file": _like(_CHECKPOINT)},
    "run_finished": {"outcome": lambda value: value in ("completed", "stopped", "failed")},
}
