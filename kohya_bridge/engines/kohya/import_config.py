"""Bring your own: a kohya_ss GUI preset, an sd-scripts TOML, or any LoRA file ("train like this one") as a request.

In: a file, the dataset and the base model to use with it. Out: an `Imported`: the request, and for everything that could not
be carried the reason. Files are read, never run; paths, secrets and code in them stay behind.
"""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import sys
from pathlib import Path
from typing import Any

from ... import json_text
from ...architectures import ARCHITECTURES
from ...device.description import Device
from ...errors import InvalidInput, NotFound
from ...files import read_named
from ...models.lora_facts import read_lora_facts
from .carrying import Imported, carry

MAX_BYTES = 4 << 20
# GUI names that differ from sd-scripts' own.
GUI_NAMES = {
    "optimizer": "optimizer_type",
    "max_resolution": "resolution",
    "epoch": "max_train_epochs",
    "full_bf16": "full_bf16",
    "caption_dropout_every_n_epochs": "caption_dropout_every_n_epochs",
    "stop_text_encoder_training_pct": "",
    "model_list": "",
    "num_cpu_threads_per_process": "",
    "LoRA_type": "",
    "additional_parameters": "",
    "lr_warmup": "",
}
GUI_NETWORKS: dict[str, dict[str, Any]] = {
    "Standard": {},
    "Kohya LoCon": {},
    "Kohya DyLoRA": {"network_module": "networks.dylora"},
    "LoRA-FA": {"network_module": "networks.lora_fa"},
    **{
        kind: {"family": each.name, **options}
        for each in ARCHITECTURES.values()
        if each.kohya
        for kind, options in each.kohya.gui_types.items()
    },
    "LyCORIS/LoCon": {"network_module": "lycoris.kohya", "network_args": ["algo=locon"]},
    "LyCORIS/LoHa": {"network_module": "lycoris.kohya", "network_args": ["algo=loha"]},
    "LyCORIS/LoKr": {"network_module": "lycoris.kohya", "network_args": ["algo=lokr"]},
    "LyCORIS/iA3": {"network_module": "lycoris.kohya", "network_args": ["algo=ia3"]},
    "LyCORIS/DyLoRA": {"network_module": "lycoris.kohya", "network_args": ["algo=dylora"]},
}
# Check boxes that mean a family.
GUI_FLAGS = {
    each.kohya.gui_flag: each.name for each in ARCHITECTURES.values() if each.kohya and each.kohya.gui_flag
}
# What the GUI writes for "leave it alone".
GUI_EMPTY = ("", None, 0, "0", False)


def import_config(
    file: Path,
    *,
    dataset: str,
    base_model: str = "",
    images: int | None = None,
    device: Device | None = None,
) -> Imported:
    """The request that a foreign configuration amounts to.

    Args:
        dataset, base_model: names to use; without `base_model` the file's own is taken, as a name.
        images: number of pictures, to turn epochs into steps.
        device: what will train; a number format that it lacks becomes auto. None keeps what the file names.

    Raises:
        NotFound, InvalidInput: the file is not there or is none of the known kinds.
    """
    file = Path(file)
    if not file.is_file():
        raise NotFound(
            f"There is no file {file.name!r}.", "Name a .json or .toml preset, or a .safetensors LoRA."
        )
    try:
        options = _options_of(file)
        return carry(
            options, dataset=dataset, base_model=base_model, images=images, source=file.name, device=device
        )
    except (
        TypeError,
        ValueError,
        LookupError,
        AttributeError,
        ArithmeticError,
        RecursionError,
        MemoryError,
    ) as error:
        raise InvalidInput(
            f"{file.name} holds something that no trainer writes: {type(error).__name__}: {str(error)[:200]}.",
            "Take that value out of the file, or make a config by hand.",
        ) from error


def _options_of(file: Path) -> dict[str, Any]:
    suffix = file.suffix.lower()
    if suffix in (".json", ".toml"):
        return _options_of_preset(_read(file, suffix))
    if suffix != ".safetensors":
        raise InvalidInput(
            f"{file.name} is no preset that is known here.", "Name a .json, .toml or .safetensors file."
        )
    facts = read_lora_facts(file)
    options = options_of_lora(facts.metadata, what=file.name)
    options[
        "network_train_unet_only"
    ] = not facts.trains_text_encoder  # its keys say what its metadata doesn't
    return options


def _read(file: Path, suffix: str) -> dict[str, Any]:
    if file.stat().st_size > MAX_BYTES:
        raise InvalidInput(
            f"{file.name} is larger than 4 MiB.", "A preset is a page of text; is it the right file?"
        )
    try:
        text = read_named(file, most=MAX_BYTES).decode("utf-8-sig")
        data = json_text.read(text) if suffix == ".json" else _parse_toml(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            f"{file.name} can't be read as {suffix[1:].upper()}: {error}.", "Mend the file."
        ) from None
    if not isinstance(data, dict):
        raise InvalidInput(f"{file.name} holds no names and values.", "Is it the right file?")
    return data


def _parse_toml(text: str) -> dict[str, Any]:
    reader = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    return dict(reader.loads(text))


def _options_of_preset(data: dict[str, Any]) -> dict[str, Any]:
    """sd-scripts options of a preset. TOML sections are flattened, as sd-scripts does it."""
    flat: dict[str, Any] = {}
    for name, value in data.items():
        flat.update(value if isinstance(value, dict) else {name: value})
    return options_of_gui(flat) if "LoRA_type" in flat or "max_resolution" in flat else flat


def options_of_gui(preset: dict[str, Any]) -> dict[str, Any]:
    """sd-scripts options of a kohya_ss GUI preset."""
    options: dict[str, Any] = {}
    for name, value in preset.items():
        ours = GUI_NAMES.get(name, name)
        if ours and value not in ("", None):
            options[ours] = value
    network = GUI_NETWORKS.get(str(preset.get("LoRA_type", "Standard")))
    if network is None:
        options["LoRA_type"] = preset["LoRA_type"]
    else:
        options.update(network)
    for flag, family in GUI_FLAGS.items():
        options.pop(flag, None)
        if preset.get(flag) in (True, "true", "True", 1):
            options["family"] = family
    if preset.get("LoRA_type") in ("Kohya LoCon", "LyCORIS/LoCon"):
        arguments = [
            f"{name}={preset[name]}"
            for name in ("conv_dim", "conv_alpha")
            if preset.get(name) not in GUI_EMPTY
        ]
        options["network_args"] = [*options.get("network_args", []), *arguments]
    for name in ("conv_dim", "conv_alpha"):
        options.pop(name, None)
    attention = preset.get("xformers")
    if attention in ("xformers", "sdpa", True, False, "none"):
        options.pop("xformers", None)
        options[attention if isinstance(attention, str) else "xformers"] = attention not in (False, "none")
    if preset.get("lr_warmup") not in GUI_EMPTY:
        options["lr_warmup_steps"] = float(preset["lr_warmup"]) / 100  # the GUI counts in percent
    for name in ("optimizer_args", "network_args", "lr_scheduler_args"):
        if isinstance(options.get(name), str):
            options[name] = shlex.split(options[name])
    options.update(_command_line(str(preset.get("additional_parameters") or "")))
    # 0 is the GUI's word for "off" in these; sd-scripts itself wants them left out.
    for name in (
        "max_train_steps",
        "max_train_epochs",
        "min_snr_gamma",
        "noise_offset",
        "save_every_n_steps",
        "max_grad_norm",
    ):
        if name in options and options[name] in GUI_EMPTY and name != "max_grad_norm":
            del options[name]
    options.pop("none", None)
    return options


def _command_line(text: str) -> dict[str, Any]:
    """`--name value` pairs of the GUI's field for further parameters."""
    found: dict[str, Any] = {}
    name = ""
    for word in shlex.split(text):
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            found[name] = value or True
        elif name:
            before = found[name]
            found[name] = (
                word if before is True else [*(before if isinstance(before, list) else [before]), word]
            )
    return found


def options_of_lora(metadata: dict[str, str], *, what: str) -> dict[str, Any]:
    """sd-scripts options that a LoRA's `ss_*` metadata tells of. Raises InvalidInput when it has none."""
    told = {name.removeprefix("ss_"): value for name, value in metadata.items() if name.startswith("ss_")}
    if not told:
        raise InvalidInput(
            f"{what} does not say how it was trained (no ss_ metadata).",
            "LoRAs saved with --no_metadata, or by other tools, can't be imitated.",
        )
    told = {name: value for name, value in told.items() if value not in ("None", "")}
    options: dict[str, Any] = {name: told[name] for name in SAME_IN_METADATA if name in told}
    options.update({ours: told[theirs] for theirs, ours in METADATA_NAMES.items() if theirs in told})
    if "base_model_version" in told:
        options["family"] = told["base_model_version"]
    if "optimizer" in told:
        options.update(_optimiser(told["optimizer"]))
    if "network_args" in told:
        options["network_args"] = [
            f"{name}={value}" for name, value in json_text.read(told["network_args"]).items()
        ]
    options.update(_dataset_of(told))
    return options


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


def _dataset_of(told: dict[str, str]) -> dict[str, Any]:
    """Sizes, buckets and captions: of the first dataset where a dataset config was used, else from their own keys."""
    if "datasets" in told:
        first = (json_text.read(told["datasets"]) or [{}])[0]
        subset = (first.get("subsets") or [{}])[0]
        found = {name: first[name] for name in DATASET_KEYS if first.get(name) is not None}
        found.update({name: subset[name] for name in SUBSET_KEYS if subset.get(name) is not None})
        if "batch_size_per_device" in first:
            found["train_batch_size"] = first["batch_size_per_device"]
        return found
    found = {name: told[name] for name in (*DATASET_KEYS, *SUBSET_KEYS) if name in told}
    if "batch_size_per_device" in told:
        found["train_batch_size"] = told["batch_size_per_device"]
    folders = json_text.read(told.get("dataset_dirs", "{}"))
    repeats = {each.get("n_repeats", 1) for each in folders.values()}
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
