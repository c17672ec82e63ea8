"""How a LoRA was trained, as sd-scripts wrote it into the file's header, as options of sd-scripts again.

In: `ss_*` metadata. Out: options, and what can't be read. A header was written by whatever made the file, so nothing in it is believed to
have the type that sd-scripts would write.
"""

from __future__ import annotations

import ast
import re
from typing import Any

from .... import json_text
from ....errors import InvalidInput

SAME_IN_METADATA = (
    "network_dim", "network_alpha", "network_dropout", "network_module", "learning_rate", "unet_lr", "text_encoder_lr",
    "lr_scheduler", "lr_warmup_steps", "max_train_steps", "gradient_accumulation_steps", "gradient_checkpointing",
    "mixed_precision", "full_fp16", "seed", "clip_skip", "max_token_length", "min_snr_gamma", "noise_offset", "max_grad_norm",
    "multires_noise_iterations", "multires_noise_discount", "adaptive_noise_scale", "zero_terminal_snr", "ip_noise_gamma",
    "scale_weight_norms", "debiased_estimation", "caption_dropout_rate", "caption_dropout_every_n_epochs",
    "caption_tag_dropout_rate", "loss_type", "huber_schedule", "huber_c", "fp8_base", "prior_loss_weight", "cache_latents",
    "face_crop_aug_range", "lowram", "v_parameterization",
)  # fmt: skip
METADATA_NAMES = {
    "sd_model_name": "pretrained_model_name_or_path",
    "debiased_estimation": "debiased_estimation_loss",
}
DATASET_KEYS = (
    "resolution", "enable_bucket", "min_bucket_reso", "max_bucket_reso", "bucket_reso_steps", "bucket_no_upscale",
)  # fmt: skip
SUBSET_KEYS = (
    "num_repeats", "flip_aug", "shuffle_caption", "keep_tokens", "caption_dropout_rate", "caption_tag_dropout_rate",
    "color_aug", "random_crop", "token_warmup_min", "token_warmup_step", "caption_prefix", "caption_suffix",
)  # fmt: skip
UNREADABLE = "it is not JSON of the kind that sd-scripts writes."
Left = list[tuple[str, Any, str]]


def options_of_lora(metadata: dict[str, str], *, what: str) -> tuple[dict[str, Any], Left]:
    """sd-scripts options that a LoRA's `ss_*` metadata tell of, and `(name, value, why)` of what can't be read.

    Raises:
        InvalidInput: it has none.
    """
    told = {name.removeprefix("ss_"): value for name, value in metadata.items() if name.startswith("ss_")}
    if not told:
        raise InvalidInput(
            f"{what} does not say how it was trained (no ss_ metadata).",
            "LoRAs saved with --no_metadata, or by other tools, can't be imitated.",
        )
    left: Left = []
    told = {name: value for name, value in told.items() if value not in ("None", "")}
    options: dict[str, Any] = {name: told[name] for name in SAME_IN_METADATA if name in told}
    options.update({ours: told[theirs] for theirs, ours in METADATA_NAMES.items() if theirs in told})
    if "base_model_version" in told:
        options["family"] = told["base_model_version"]
    if "optimizer" in told:
        options.update(_optimiser(told["optimizer"]))
    arguments = _json(told, "network_args", dict, left)
    if arguments:
        options["network_args"] = [f"{name}={value}" for name, value in arguments.items()]
    options.update(_dataset_of(told, left))
    return options, left


def _json(told: dict[str, str], name: str, kind: type, left: Left) -> Any:
    """What stands in one field as JSON; an empty one where it is not there or not of that kind."""
    if name not in told:
        return kind()
    try:
        read = json_text.read(told[name])
    except ValueError:
        read = None
    if not isinstance(read, kind):
        left.append((name, told[name][:200], UNREADABLE))
        return kind()
    return read


def _dataset_of(told: dict[str, str], left: Left) -> dict[str, Any]:
    """Sizes, buckets and captions: of the first dataset where a dataset config was used, else from their own keys."""
    datasets = _json(told, "datasets", list, left)
    if datasets and isinstance(datasets[0], dict):
        first = datasets[0]
        subsets = first.get("subsets")
        subset = subsets[0] if isinstance(subsets, list) and subsets and isinstance(subsets[0], dict) else {}
        found = {name: first[name] for name in DATASET_KEYS if first.get(name) is not None}
        found.update({name: subset[name] for name in SUBSET_KEYS if subset.get(name) is not None})
        if "batch_size_per_device" in first:
            found["train_batch_size"] = first["batch_size_per_device"]
        return found
    found = {name: told[name] for name in (*DATASET_KEYS, *SUBSET_KEYS) if name in told}
    if "batch_size_per_device" in told:
        found["train_batch_size"] = told["batch_size_per_device"]
    folders = _json(told, "dataset_dirs", dict, left)
    repeats = {each.get("n_repeats", 1) for each in folders.values() if isinstance(each, dict)}
    if len(repeats) == 1:
        found["num_repeats"] = repeats.pop()
    return found


def _optimiser(told: str) -> dict[str, Any]:
    """`bitsandbytes.optim.adamw.AdamW8bit(weight_decay=0.1)` as type and arguments."""
    match = re.fullmatch(r"([\w.]+?)(?:\((.*)\))?", told.strip(), re.DOTALL)
    if match is None:
        return {}
    name, arguments = match.group(1).split(".")[-1], match.group(2) or ""
    found: dict[str, Any] = {"optimizer_type": name}
    if arguments:
        try:
            call = ast.parse(f"f({arguments})", mode="eval").body
            pairs = [f"{each.arg}={ast.unparse(each.value)}" for each in call.keywords if each.arg]  # type: ignore[attr-defined]
            found["optimizer_args"] = pairs
        except SyntaxError:
            pass  # the type alone is carried
    return found
