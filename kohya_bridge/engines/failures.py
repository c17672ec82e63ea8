"""The failure doctor: what an ended trainer's exit code and last words mean, and what to do about it.

In: an exception inside the child, or the exit code and log of a child that died. Out: a `Diagnosis`: cause, the line that
shows it, a fix; and for lack of memory a ladder of safer settings, each with its price. One table for every engine:
`causes`. Standard library only: children use it.
"""

from __future__ import annotations

import errno
import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..architectures import ARCHITECTURES
from ..errors import BridgeError, StorageError
from .causes import CAUSES, Cause
from .child import (
    EXIT_ABORTED,
    EXIT_COMPLETED,
    EXIT_DISK_FULL,
    EXIT_FAILED,
    EXIT_NO_DATA,
    EXIT_NOT_FINITE,
    EXIT_OUT_OF_MEMORY,
)


@dataclass(frozen=True)
class Rung:
    """One safer setting: `changes` are plan values (`kohya.` names go to the plan's kohya section), `price` what it costs."""

    title: str
    changes: dict[str, Any]
    price: str

    def changes_text(self) -> str:
        return ", ".join(f"{name}: {value}" for name, value in self.changes.items())


@dataclass(frozen=True)
class Diagnosis:
    """Why a training ended. `evidence` is the line of the log, or the exception, that shows it."""

    code: str
    problem: str
    fix: str
    evidence: str = ""


_BY_EXIT_CODE = {
    EXIT_OUT_OF_MEMORY: "out_of_memory",
    EXIT_NO_DATA: "no_data",
    EXIT_NOT_FINITE: "not_finite",
    EXIT_DISK_FULL: "disk_full",
}

NEEDS_LESS_MEMORY = ("out_of_memory", "killed")
_KILLED = (
    "killed",
    "It was killed from outside: by a person, or by the system because memory ran out.",
    "If memory ran out, take one of the safer settings or close other programs.",
)
_ENDED = ("terminated", "It was ended from outside.", "Resume continues from the last complete state.")
_CRASHED = (
    "crashed",
    "Its process crashed inside the driver, torch or another library.",
    "Resume; if it happens again, update the GPU's driver and torch, and set torch_compile to false.",
)
_BY_SIGNAL: dict[int | None, tuple[str, str, str]] = {
    **dict.fromkeys((-9, 137), _KILLED),
    **dict.fromkeys((-15, 143, -2, EXIT_ABORTED), _ENDED),
    **dict.fromkeys((-6, 134, -11, 139, -7, 135, -4, 132), _CRASHED),
    None: (
        "vanished",
        "Nobody saw its end: the machine was restarted, or the process was ended from outside.",
        "Resume continues from the last complete state.",
    ),
}

LADDER: tuple[Rung, ...] = (
    Rung(
        "Leave the text encoders alone",
        {"network_train_unet_only": True},
        "The trigger word is learned a little less firmly.",
    ),
    Rung("Cache latents", {"cache_latents": True}, "None, unless pictures are cropped at random."),
    Rung(
        "Cache the text encoders' outputs",
        {"cache_text_encoder_outputs": True, "shuffle_caption": False, "caption_tag_dropout_rate": 0.0},
        "Captions can't be shuffled or dropped.",
    ),
    Rung(
        "Recompute activations",
        {"gradient_checkpointing": True},
        "A third to a half more time for each step.",
    ),
    Rung(
        "Use the 8-bit optimiser",
        {"optimizer_type": "AdamW8bit"},
        "Needs bitsandbytes; no loss seen in quality.",
    ),
    Rung(
        "One picture at a time",
        {"train_batch_size": 1},
        "Slower for each picture; raise gradient_accumulation_steps to keep the effective batch.",
    ),
    Rung(
        "Hold the base model in fp8",
        {"kohya.fp8_base": True},
        "A little precision; kohya engine, needs mixed precision.",
    ),
    Rung(
        "Keep blocks in main memory",
        {"kohya.blocks_to_swap": 18},
        "Clearly slower; FLUX, SD3, Lumina, HunyuanImage and Anima on the kohya engine only.",
    ),
    Rung("Lower the resolution", {"resolution": 0.75}, "Finer detail is not learned."),
    Rung(
        "Lower the rank", {"network_dim": 8, "network_alpha": 4.0}, "Less room for the character's details."
    ),
)


def explain(error: BaseException) -> tuple[str, str, str, int]:
    """`(problem, fix, code, exit code)` of an exception: what `Child.guarded` writes into `run_finished`."""
    if _is_disk_full(error):
        full = next(each for each in CAUSES if each.code == "disk_full")
        return full.problem, full.fix, full.code, full.exit_code
    if isinstance(error, BridgeError):
        return error.problem, error.fix, "refused", EXIT_FAILED
    text = f"{type(error).__name__}: {error}"
    cause, match = _first_cause(_looked_at(f"{_where(error)}\n{text}"))
    if cause is None:
        return (
            f"Training broke off: {text[:300]}",
            "The traceback is in train.log.",
            "exception",
            EXIT_FAILED,
        )
    return _fill(cause.problem, match), cause.fix, cause.code, cause.exit_code


def _is_disk_full(error: BaseException) -> bool:
    """No space, quota used up, or file larger than allowed; a StorageError carries the system's error as its cause."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    cause = error.__cause__ if isinstance(error, StorageError) else error
    return isinstance(cause, OSError) and cause.errno in full


def _where(error: BaseException) -> str:
    """The functions that the exception passed through, innermost last: some messages say too little by themselves."""
    names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    return "\n".join(f"in {name}" for name in names)


LONGEST_LINE = 2_000
"""Characters of a log line that are looked at: no message is longer, and the patterns take the square of a word's length."""


def explain_death(exit_code: int | None, log_tail: str) -> Diagnosis:
    """The likely cause of an end that the child itself did not report. `problem` is empty where nothing tells it.

    `exit_code` is as `subprocess` gives it (negative for a signal), or None when nobody saw the process end.
    """
    log_tail = _looked_at(log_tail)
    cause, match = _last_cause(log_tail)
    if cause is None and exit_code in _BY_EXIT_CODE:
        cause = next(each for each in CAUSES if each.code == _BY_EXIT_CODE[exit_code])
    if cause is not None and exit_code != EXIT_COMPLETED:
        return Diagnosis(cause.code, _fill(cause.problem, match), cause.fix, _line(match, log_tail))
    code, problem, fix = _BY_SIGNAL.get(exit_code, ("died", "", ""))
    last = log_tail.strip().splitlines()[-1] if log_tail.strip() else ""
    return Diagnosis(code, problem, fix, last)


def safer_settings(settings: Mapping[str, Any] | None, family: str = "") -> tuple[Rung, ...]:
    """The rungs of the memory ladder that are still to be taken, cheapest first, with concrete values."""
    found = []
    for rung in LADDER:
        changes = _still_to_change(rung.changes, settings, family)
        if changes:
            found.append(Rung(rung.title, changes, rung.price))
    return tuple(found)


def _still_to_change(
    changes: dict[str, Any], settings: Mapping[str, Any] | None, family: str
) -> dict[str, Any]:
    if "kohya.blocks_to_swap" in changes and not _swaps_blocks(family):
        return {}
    if "resolution" in changes:
        if settings is None:
            return {"resolution": 512}
        lower = int(settings["resolution"] * changes["resolution"]) // 64 * 64
        return {"resolution": lower} if lower >= 256 else {}
    if settings is None:
        return changes
    if "network_dim" in changes and settings["network_dim"] <= changes["network_dim"]:
        return {}
    return {name: value for name, value in changes.items() if settings.get(name) != value}


def _swaps_blocks(family: str) -> bool:
    """Whether sd-scripts can keep blocks of that family in main memory; True where the family is not told."""
    script = ARCHITECTURES[family].kohya if family in ARCHITECTURES else None
    return script is None or script.swaps_blocks


def _first_cause(text: str) -> tuple[Cause | None, re.Match[str] | None]:
    for cause in CAUSES:
        match = cause.pattern.search(text)
        if match:
            return cause, match
    return None, None


def _looked_at(text: str) -> str:
    return "\n".join(line[:LONGEST_LINE] for line in text.splitlines())


def _last_cause(log: str) -> tuple[Cause | None, re.Match[str] | None]:
    """The cause in the last traceback or error of a log; earlier warnings that happen to match do not count."""
    start = max(log.rfind("Traceback (most recent call last)"), 0)
    cause, match = _first_cause(log[start:])
    return (cause, match) if cause else _first_cause(log)


def _fill(problem: str, match: re.Match[str] | None) -> str:
    """Put the pattern's first group that matched into `{0}` or, with its separator, into `{0:: }`."""
    found = next((each for each in match.groups() if each), "") if match else ""
    shown = found.strip().rstrip(".,;")[:200]
    return problem.replace("{0:: }", f": {shown}" if shown else "").replace("{0}", shown or "(see train.log)")


def _line(match: re.Match[str] | None, log: str) -> str:
    if match is None:
        return log.strip().splitlines()[-1] if log.strip() else ""
    end = match.end()
    start = match.string.rfind("\n", 0, end) + 1
    stop = match.string.find("\n", end)
    return match.string[start : stop if stop >= 0 else None].strip()[:500]
