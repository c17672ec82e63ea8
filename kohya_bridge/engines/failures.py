"""The failure doctor: what an ended trainer's exit code and last words mean, and what to do about it.

In: an exception inside the child, or the exit code and log of a child that died. Out: a `Diagnosis`: cause, the line that
shows it, a fix, and for lack of memory a ladder of safer settings, each with its price. One table for every engine; new
causes are one entry in `CAUSES`. Standard library only: children use it.
"""

from __future__ import annotations

import errno
import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import BridgeError, StorageError
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


@dataclass(frozen=True)
class Diagnosis:
    """Why a training ended. `evidence` is the line of the log, or the exception, that shows it."""

    code: str
    problem: str
    fix: str
    evidence: str = ""
    ladder: tuple[Rung, ...] = field(default=())

    def text(self) -> str:
        """The diagnosis as a person reads it in a shell."""
        lines = [self.problem, self.fix]
        lines += [f"  seen: {self.evidence}"] if self.evidence else []
        lines += [
            f"  or: {rung.title} ({', '.join(f'{key}: {value}' for key, value in rung.changes.items())}). {rung.price}"
            for rung in self.ladder
        ]
        return "\n".join(line for line in lines if line)


@dataclass(frozen=True)
class Cause:
    """A known cause: how its line in the log looks, and what it means. `{0}`, `{1}` are the pattern's groups."""

    code: str
    pattern: re.Pattern[str]
    problem: str
    fix: str
    exit_code: int = EXIT_FAILED


def _cause(code: str, pattern: str, problem: str, fix: str, exit_code: int = EXIT_FAILED) -> Cause:
    return Cause(code, re.compile(pattern, re.IGNORECASE), problem, fix, exit_code)


# Looked through in order: what is specific stands before what is general.
CAUSES: tuple[Cause, ...] = (
    _cause(
        "disk_full",
        r"no space left on device|\[errno 28\]|os error 28|disk quota exceeded|not enough space on the disk",
        "The disk is full.",
        "Free space (old runs: `python -m kohya_bridge runs`), then resume: the last complete state is kept.",
        EXIT_DISK_FULL,
    ),
    _cause(
        "out_of_memory",
        r"cuda out of memory|torch\.(?:cuda\.)?outofmemoryerror|cublas_status_alloc_failed|cuda error: out of memory|"
        r"hip out of memory|mps backend out of memory",
        "The GPU's memory ran out.",
        "Free the GPU (other programs, ComfyUI's models), or take one of the safer settings.",
        EXIT_OUT_OF_MEMORY,
    ),
    _cause(
        "out_of_memory",
        r"defaultcpuallocator: can't allocate|can't allocate memory|cannot allocate memory|\bmemoryerror\b|"
        r"paging file is too small|std::bad_alloc",
        "The machine's main memory ran out.",
        "Close other programs or enlarge the swap file, or take one of the safer settings.",
        EXIT_OUT_OF_MEMORY,
    ),
    _cause(
        "no_data",
        r"no data found\. please verify arguments|found no pictures to train on",
        "Nothing was trained: no pictures were found.",
        "Check that the dataset's images folder holds pictures; `python -m kohya_bridge lint` looks through it.",
        EXIT_NO_DATA,
    ),
    _cause(
        "caption_empty",
        r"caption file is empty.*?:\s*(\S+)",
        "The caption file {0} is empty.",
        "Write a caption with the trigger for that picture in captions.jsonl.",
    ),
    _cause(
        "caption_encoding",
        r"illegal char in file \(not utf-8\).*?:\s*(\S+)|unicodedecodeerror: 'utf-?8' codec can't decode",
        "A caption is not UTF-8 text{0:: }.",
        "Save it as UTF-8 (no legacy code page).",
    ),
    _cause(
        "picture_damaged",
        r"error loading file: (\S+)|cannot identify image file '?([^'\n]+)|image file is truncated|broken png file",
        "A picture can't be read{0:: }.",
        "Run `python -m kohya_bridge lint`: it names the damaged file. Replace or remove it.",
    ),
    _cause(
        "picture_shape",
        r"in select_bucket\b[\s\S]*zerodivisionerror",
        "A picture is damaged, or so narrow that no bucket of this resolution takes it.",
        "Run `python -m kohya_bridge lint`; raise the resolution, or set bucket_no_upscale to false.",
    ),
    _cause(
        "picture_size",
        r"image too large, but cropping and bucketing are disabled|image size is small",
        "A picture does not have the training resolution, and buckets are off.",
        "Set enable_bucket to true, or cache_latents to true.",
    ),
    _cause(
        "tokenizer_offline",
        r"can't load tokenizer for '([^']+)'|couldn't connect to '?https?://huggingface|localentrynotfounderror|"
        r"offlinemodeisenabled|cannot reach https?://huggingface",
        "A tokenizer or configuration is not on this machine{0:: } and the model hub is not asked.",
        "ComfyUI's own tokenizers are used: check that `python -m kohya_bridge doctor` finds them.",
    ),
    _cause(
        "base_model_missing",
        r"neither a valid local path nor a valid repo id|cannot load model .*?not cached locally|"
        r"no such file or directory: '?([^'\n]+\.(?:safetensors|ckpt|sft))",
        "The base model is not there{0:: }.",
        "Choose a checkpoint from ComfyUI's list.",
    ),
    _cause(
        "base_model_damaged",
        r"safetensor_?error: (?:error while )?(?:deserializing header|invalid header)[^\n]*|metadataincompletebuffer|"
        r"headertoolarge|invalidheader",
        "A model file is damaged or was not downloaded completely.",
        "Download it again and compare its size.",
    ),
    _cause(
        "base_model_family",
        r"keyerror: '(?:time_embed\.0\.weight|conditioner\.|model\.diffusion_model|cond_stage_model|first_stage_model)|"
        r"error\(s\) in loading state_dict for (?!lora)(\w+)|assertionerror: v2 cannot be enabled in sdxl",
        "The base model does not fit the chosen model family.",
        "Choose family: auto, or a checkpoint of the right family.",
    ),
    _cause(
        "state_does_not_fit",
        r"error\(s\) in loading state_dict for (?:lora|lycoris|oft)\w*|loaded state dict (?:contains a parameter group|has a "
        r"different number)",
        "The saved state belongs to another network or optimiser.",
        "Start a new run; a state resumes only the plan that made it.",
    ),
    _cause(
        "gpu_unsupported",
        r"no kernel image is available|sm_\d+ is not compatible with the current pytorch|invalid device function|"
        r"cuda driver version is insufficient|torch not compiled with cuda enabled|found no nvidia driver|"
        r"cuda error: the provided ptx",
        "This torch does not fit the GPU or its driver.",
        "Run `python -m kohya_bridge doctor`: it compares the GPU with torch's list and names the build to install.",
    ),
    _cause(
        "precision_unsupported",
        r"fp16 mixed precision requires a (?:gpu|\S+)|bf16 mixed precision requires|bfloat16 is (?:only|not) supported|"
        r"not implemented for 'half'",
        "This device can't do the chosen mixed_precision.",
        "Set mixed_precision to no on a CPU, to fp16 on cards before Ampere, to bf16 on newer ones.",
    ),
    _cause(
        "missing_package",
        r"modulenotfounderror: no module named '([^']+)'|importerror: no (\w+)|no module named '?([\w.]+)'?",
        "The package {0} is missing.",
        "`python -m kohya_bridge doctor` names the command that installs it.",
    ),
    _cause(
        "xformers",
        r"no operator found for `?memory_efficient_attention|xformers (?:is not|wasn't) (?:installed|built)",
        "xformers can't run on this device.",
        "Set attention to sdpa; it needs nothing.",
    ),
    _cause(
        "bad_option",
        r"error: (unrecognized arguments: .*|argument .*)|multipleinvalid: (.*)|voluptuous\.error\.\w+: (.*)|"
        r"'?(\S+)'? is not a valid schedulertype|does not require `num_warmup_steps`|sd-scripts has no option (.*)",
        "sd-scripts does not take an option{0:: }.",
        "Take it out of the plan's kohya section or mend its value.",
    ),
    _cause(
        "loader_worker",
        r"dataloader worker \(pid[^)]*\) (?:is killed|exited unexpectedly)|unable to open shared memory object",
        "A data loader process died; shared memory may be too small.",
        "Set kohya.max_data_loader_n_workers to 0, or give the container more shared memory (--shm-size).",
    ),
    _cause(
        "not_finite",
        r"the loss became (?:nan|inf)|weights are not finite",
        "The loss is not a number any more: the learning rate is too high, or fp16 overflowed.",
        "Lower unet_lr by ten, or set mixed_precision to bf16; checkpoints from before that step are good.",
        EXIT_NOT_FINITE,
    ),
    _cause(
        "permission",
        r"permissionerror: \[errno 13\][^\n]*?'([^']+)'|permission denied",
        "A file may not be read or written{0:: }.",
        "Mend its permissions.",
    ),
)

_BY_EXIT_CODE = {
    EXIT_OUT_OF_MEMORY: "out_of_memory",
    EXIT_NO_DATA: "no_data",
    EXIT_NOT_FINITE: "not_finite",
    EXIT_DISK_FULL: "disk_full",
}

_KILLED = (
    "killed",
    "It was killed from outside: by a person, or by the system because memory ran out.",
    "If memory ran out, take one of the safer settings or close other programs.",
)
_ENDED = ("terminated", "It was ended from outside.", "Resume continues from the last complete state.")
_CRASHED = (
    "crashed",
    "Its process crashed in native code.",
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
        cause = next(each for each in CAUSES if each.code == "disk_full")
        return cause.problem, cause.fix, cause.code, cause.exit_code
    if isinstance(error, BridgeError):
        return error.problem, error.fix, "refused", EXIT_FAILED
    text = f"{type(error).__name__}: {error}"
    cause, match = _first_cause(f"{_where(error)}\n{text}")
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


def explain_death(exit_code: int | None, log_tail: str) -> Diagnosis:
    """The likely cause of an end that the child itself did not report. `problem` is empty where nothing tells it.

    `exit_code` is as `subprocess` gives it (negative for a signal), or None when nobody saw the process end.
    """
    cause, match = _last_cause(log_tail)
    if cause is None and exit_code in _BY_EXIT_CODE:
        cause = next(each for each in CAUSES if each.code == _BY_EXIT_CODE[exit_code])
    if cause is not None and exit_code != EXIT_COMPLETED:
        return Diagnosis(cause.code, _fill(cause.problem, match), cause.fix, _line(match, log_tail))
    code, problem, fix = _BY_SIGNAL.get(exit_code, ("died", "", ""))
    last = log_tail.strip().splitlines()[-1] if log_tail.strip() else ""
    return Diagnosis(code, problem, fix, last)


def diagnose(
    exit_code: int | None,
    log_tail: str,
    state: Any = None,
    *,
    settings: Mapping[str, Any] | None = None,
    family: str = "",
) -> Diagnosis:
    """The whole story of a dead child: where it ended, why, what to do, and for lack of memory what is safer.

    Args:
        state: the folded `RunState`, for the step at which it ended.
        settings: the plan's settings; with them the ladder leaves out what is set already.
    """
    step, total = getattr(state, "step", 0), getattr(state, "total", 0)
    where = f"at step {step} of {total}" if total else "before it began training"
    cause = explain_death(exit_code, log_tail)
    ladder = safer_settings(settings, family) if cause.code in ("out_of_memory", "killed") else ()
    return Diagnosis(
        cause.code,
        " ".join(filter(None, [f"The trainer died {where}.", cause.problem])),
        cause.fix
        or "The last lines of train.log may say why; resume continues from the last complete state.",
        cause.evidence,
        ladder,
    )


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
    swaps = "kohya.blocks_to_swap" in changes
    if swaps and family in ("sd15", "sdxl"):
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


def _first_cause(text: str) -> tuple[Cause | None, re.Match[str] | None]:
    for cause in CAUSES:
        match = cause.pattern.search(text)
        if match:
            return cause, match
    return None, None


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
