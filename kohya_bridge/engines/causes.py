"""The causes that the failure doctor knows: how each looks in a log, what it means, what to do.

In: nothing. Out: `CAUSES`, looked through in order. A new cause is one entry. Patterns are lines that sd-scripts, torch,
accelerate, safetensors and operating systems print; most were provoked for real. A log is whatever a trainer printed, so none may
take the square of its length: repetitions are bounded, or begin at a word. Standard library only: children use it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .child import EXIT_DISK_FULL, EXIT_FAILED, EXIT_NO_DATA, EXIT_NOT_FINITE, EXIT_OUT_OF_MEMORY


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
        r"no space left on device|\[errno 28\]|os error 28|os error 27|kind: filetoolarge|\[errno 27\]|disk quota exceeded|not enough space on the disk|the disk is full",
        "The disk is full.",
        "Free disk space (old runs can be deleted in the panel), then resume: the last complete state is kept.",
        EXIT_DISK_FULL,
    ),
    _cause(
        "out_of_memory",
        r"cuda out of memory|torch\.(?:cuda\.)?outofmemoryerror|cublas_status_alloc_failed|cuda error: out of memory|"
        r"hip out of memory|mps backend out of memory|xpu out of memory",
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
        "lycoris_preset",
        r"assertionerror: duplicated lora name: (\S+)",
        "LyCORIS' usual preset names a layer of this model twice ({0}).",
        "Add preset=attn-mlp to network_args, or another of its presets.",
    ),
    _cause(
        "no_data",
        r"no data found\. please verify arguments|found no pictures to train on",
        "Nothing was trained: no pictures were found.",
        "Check that the dataset's images folder holds pictures: Dataset Lint looks through it.",
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
        "Run Dataset Lint: it names the damaged file. Replace or remove it.",
    ),
    _cause(
        "picture_shape",
        r"in select_bucket\b[\s\S]{0,2000}?zerodivisionerror",
        "A picture is damaged, or so narrow that no bucket of this resolution takes it.",
        "Run Dataset Lint, which names it; raise the resolution, or set bucket_no_upscale to false.",
    ),
    _cause(
        "picture_size",
        r"image too large, but cropping and bucketing are disabled|image size is small",
        "A picture does not have the training resolution, and buckets are off.",
        "Set enable_bucket to true, or cache_latents to true.",
    ),
    _cause(
        "tokenizer_offline",
        r"can't load tokenizer for '([^']{1,300})'|couldn't connect to '?https?://huggingface|localentrynotfounderror|"
        r"offlinemodeisenabled|cannot reach https?://huggingface",
        "A tokenizer or configuration is not on this machine{0:: } and the model hub is not asked.",
        "ComfyUI's own tokenizers are used: `python -m kohya_bridge doctor` in a shell says where they are looked for.",
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
        r"not implemented for 'half'|expected scalar type half but found",
        "This device can't do the chosen mixed_precision.",
        "Set mixed_precision to auto, which takes what the device computes best; `no` (fp32) works everywhere.",
    ),
    _cause(
        "missing_package",
        r"modulenotfounderror: no module named '([^']{1,300})'|importerror: no (\w+)|no module named '?([\w.]+)'?",
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
        r"(?<!\S)'?(\S+)'? is not a valid schedulertype|does not require `num_warmup_steps`|sd-scripts has no option (.*)",
        "sd-scripts does not take an option{0:: }.",
        "Take it out of the settings' `kohya:` section, or correct its value.",
    ),
    _cause(
        "loader_worker",
        r"dataloader worker \(pid[^)]{0,40}\) (?:is killed|exited unexpectedly)|unable to open shared memory object",
        "A data loader process died; shared memory may be too small.",
        "Set kohya.max_data_loader_n_workers to 0, or give the container more shared memory (--shm-size).",
    ),
    _cause(
        "not_finite",
        r"the loss became (?:nan|inf)|weights are not finite|numbers that are not finite",
        "The loss is not a number any more: the learning rate is too high, or fp16 overflowed.",
        "Lower unet_lr by ten, or set mixed_precision to bf16; checkpoints from before that step are good.",
        EXIT_NOT_FINITE,
    ),
    _cause(
        "half_vae",
        r"nan detected in latents",
        "The VAE overflows in this mixed_precision: the latents of a picture are NaN.",
        "Set kohya.no_half_vae to true, or mixed_precision to bf16 where the device has it.",
    ),
    _cause(
        "permission",
        r"permissionerror: \[errno 13\][^\n]*?'([^'\n]{1,1000})'|permission denied|access is denied",
        "A file may not be read or written{0:: }.",
        "Allow your user account to read and write it, then resume.",
    ),
)
