"""Rendering: a TrainingPlan as sd-scripts' own configuration, for a person to read and for plain sd-scripts to run.

In: a plan and where things lie. Out: the options of the training script, and the data set description. Pure: nothing is
read or written, so a golden file holds each family's rendering still. Every setting of the plan is rendered or refused by
`checking`; nothing is left out in silence.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ... import json_text
from ...architectures import architecture
from ...architectures.base import Architecture, Kohya, sd_scripts
from ...files import Tree
from ...plan import TrainingPlan
from ...settings import TrainingSettings

CAPTION_EXTENSION = ".txt"
PROCESSES = "num_processes"  # of the kohya section: GPUs that train together; no option of the script, but of its launch
LOADER_WORKERS = 2  # without cached latents pictures are decoded beside the training
# Upstream's Adafactor finds its own rate unless told not to; the plan's rates and schedule are meant to count.
ADAFACTOR_ARGS = {"relative_step": False, "scale_parameter": False, "warmup_init": False}


@dataclass(frozen=True)
class Places:
    """Absolute paths of one rendering."""

    base_model: Path
    staging: Path
    tokenizers: Path | None
    models: dict[str, Path] = field(default_factory=dict)
    """Further model files and the LoRAs that the settings name, by sd-scripts option."""

    train = property(lambda self: self.staging / "train")
    held_out = property(lambda self: self.staging / "held_out")
    probe = property(lambda self: self.staging / "probe")
    output = property(lambda self: self.staging / "output")
    config = property(lambda self: self.staging / "config.toml")
    dataset_config = property(lambda self: self.staging / "dataset.toml")
    sample_prompts = property(lambda self: self.staging / "sample_prompts.json")

    @property
    def files(self) -> Tree:
        """The way to write below the run's folder."""
        return Tree(self.staging.parent)


def script_name(plan: TrainingPlan) -> str:
    """Name of the training script's module."""
    return sd_scripts(architecture(plan.base_model.family)).script.removesuffix(".py")


def render_options(plan: TrainingPlan, places: Places) -> dict[str, Any]:
    """The options of the training script, in reading order. The plan's kohya section comes last and may not contradict."""
    settings, of_family = plan.settings, architecture(plan.base_model.family)
    script = sd_scripts(of_family)
    options: dict[str, Any] = {
        "pretrained_model_name_or_path": str(places.base_model),
        **_models(settings, places),
        "dataset_config": str(places.dataset_config),
        "output_dir": str(places.output),
        "output_name": plan.character,
        "save_model_as": "safetensors",
        "training_comment": f"dataset {plan.dataset.slug}, trigger {plan.dataset.trigger or 'none'}",
        **_network(settings, script),
        **_optimiser(settings, of_family),
        **_memory(settings, script),
        **_text(settings, of_family),
        **_objective(settings, of_family),
        **_saving(settings),
        "seed": settings.seed,
        "sample_prompts": str(places.sample_prompts),
        "sample_sampler": "euler_a",
        "console_log_simple": True,
    }
    if places.tokenizers:
        options["tokenizer_cache_dir"] = str(places.tokenizers)
    options.update(script.options)
    return {**options, **_from_kohya_section(plan, options)}


def _models(settings: TrainingSettings, places: Places) -> dict[str, Any]:
    """Further model files. `base_weights` is a list to sd-scripts, which merges them into the model that it trains on."""
    options: dict[str, Any] = {option: str(path) for option, path in sorted(places.models.items())}
    if "base_weights" in options:
        options["base_weights"] = [options["base_weights"]]
        options["base_weights_multiplier"] = [settings.base_weights_multiplier]
    return options


def _network(settings: TrainingSettings, script: Kohya) -> dict[str, Any]:
    options: dict[str, Any] = {
        "network_module": script.network_module,
        "network_dim": settings.network_dim,
        "network_alpha": settings.network_alpha,
    }
    if settings.conv_dim:
        options["network_args"] = [f"conv_dim={settings.conv_dim}", f"conv_alpha={settings.conv_alpha}"]
    if settings.network_dropout:
        options["network_dropout"] = settings.network_dropout
    if settings.network_train_unet_only:
        options["network_train_unet_only"] = True
    return options


def _optimiser(settings: TrainingSettings, of_family: Architecture) -> dict[str, Any]:
    arguments = dict(settings.optimizer_args)
    if settings.optimizer_type == "Adafactor":
        arguments = {**ADAFACTOR_ARGS, **arguments}
    options: dict[str, Any] = {
        "learning_rate": settings.unet_lr,
        "unet_lr": settings.unet_lr,
        "optimizer_type": settings.optimizer_type,
        "lr_scheduler": settings.lr_scheduler,
        "max_train_steps": settings.max_train_steps,
        "gradient_accumulation_steps": settings.gradient_accumulation_steps,
        "max_grad_norm": settings.max_grad_norm,
    }
    if not settings.network_train_unet_only:
        encoders = max(1, len(of_family.text_encoder_prefixes))
        options["text_encoder_lr"] = [settings.text_encoder_lr] * encoders
    if arguments:
        options["optimizer_args"] = [f"{name}={_literal(value)}" for name, value in sorted(arguments.items())]
    if settings.lr_scheduler != "constant":  # upstream refuses a warm-up there
        warmup = settings.lr_warmup_steps
        options["lr_warmup_steps"] = int(warmup) if warmup >= 1 or warmup == 0 else warmup
    if settings.lr_scheduler == "cosine_with_restarts":
        options["lr_scheduler_num_cycles"] = settings.lr_scheduler_num_cycles
    if settings.lr_scheduler == "polynomial":
        options["lr_scheduler_power"] = settings.lr_scheduler_power
    return options


def _memory(settings: TrainingSettings, script: Kohya) -> dict[str, Any]:
    options: dict[str, Any] = {
        "mixed_precision": settings.mixed_precision,
        settings.attention: True,
        "max_data_loader_n_workers": 0 if settings.cache_latents else LOADER_WORKERS,
    }
    if settings.gradient_checkpointing:
        options["gradient_checkpointing"] = True
    if settings.torch_compile:
        options.update(torch_compile=True, dynamo_backend="inductor")
    if settings.cache_latents:
        options["cache_latents"] = True
    if settings.cache_text_encoder_outputs and script.caches_text:
        options["cache_text_encoder_outputs"] = True
    return options


def _text(settings: TrainingSettings, of_family: Architecture) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if of_family.captions.clip_skip and settings.clip_skip > 1:
        options["clip_skip"] = settings.clip_skip
    if sd_scripts(of_family).long_captions and settings.max_token_length > 75:
        options["max_token_length"] = settings.max_token_length
    return options


def _objective(settings: TrainingSettings, of_family: Architecture) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if not of_family.flow:
        if settings.min_snr_gamma:
            options["min_snr_gamma"] = settings.min_snr_gamma
        if settings.noise_offset:
            options["noise_offset"] = settings.noise_offset
        if settings.prediction_type == "v_prediction":
            options["v_parameterization"] = True
        if settings.zero_terminal_snr:
            options["zero_terminal_snr"] = True
    if settings.min_timestep:
        options["min_timestep"] = settings.min_timestep
    if settings.max_timestep < 1000:
        options["max_timestep"] = settings.max_timestep
    return options


def _saving(settings: TrainingSettings) -> dict[str, Any]:
    options: dict[str, Any] = {"save_precision": settings.save_precision}
    if settings.save_every_n_steps:
        options["save_every_n_steps"] = settings.save_every_n_steps
    if settings.save_state:
        options["save_state"] = True
    if settings.validation_split:
        options["validation_seed"] = settings.validation_seed
        if settings.validate_every_n_steps:
            options["validate_every_n_steps"] = settings.validate_every_n_steps
    return options


def _from_kohya_section(plan: TrainingPlan, options: dict[str, Any]) -> dict[str, Any]:
    """What the plan's kohya section adds. Lists of `name=value` are joined with those that the settings made."""
    names = {PROCESSES, *(each.option for each in architecture(plan.base_model.family).model_files)}
    added = {
        key: value for key, value in plan.kohya.items() if key not in names
    }  # model files are rendered as paths
    if "network_args" in added and "network_args" in options:
        added["network_args"] = [*options["network_args"], *added["network_args"]]
    return added


def render_dataset(plan: TrainingPlan, places: Places, *, held_out: int) -> dict[str, Any]:
    """The data set description. `held_out` is how many pictures are staged in the held-out and the probe folder."""
    settings = plan.settings
    sizes: dict[str, Any] = {
        "resolution": settings.resolution,
        "enable_bucket": settings.enable_bucket,
        "min_bucket_reso": settings.min_bucket_reso,
        "max_bucket_reso": settings.max_bucket_reso,
        "bucket_reso_steps": settings.bucket_reso_steps,
        "bucket_no_upscale": settings.bucket_no_upscale,
    }
    train = {
        **sizes,
        "batch_size": settings.train_batch_size,
        "validation_split": 0.0,
        "subsets": [
            {
                "image_dir": str(places.train),
                "num_repeats": settings.num_repeats,
                "flip_aug": settings.flip_aug,
                "shuffle_caption": settings.shuffle_caption,
                "keep_tokens": settings.keep_tokens,
                "caption_dropout_rate": settings.caption_dropout_rate,
                "caption_tag_dropout_rate": settings.caption_tag_dropout_rate,
            }
        ],
    }
    measured = [
        # A share of 1.0 leaves nothing of the folder to training: the split is the plan's, not upstream's.
        {**sizes, "batch_size": 1, "validation_split": 1.0, "subsets": [_plain_subset(folder)]}
        for folder in ((places.held_out, places.probe) if held_out else ())
    ]
    return {"general": {"caption_extension": CAPTION_EXTENSION}, "datasets": [train, *measured]}


def _plain_subset(folder: Path) -> dict[str, Any]:
    """A subset as it is measured: each picture once, with its whole caption."""
    return {
        "image_dir": str(folder),
        "num_repeats": 1,
        "flip_aug": False,
        "shuffle_caption": False,
        "caption_dropout_rate": 0.0,
        "caption_tag_dropout_rate": 0.0,
    }


def _literal(value: Any) -> str:
    """A value as upstream's `ast.literal_eval` reads it; strings are quoted."""
    return repr(value) if not isinstance(value, str) else json_text.write(value)


def to_toml(table: dict[str, Any]) -> str:
    """TOML text of a mapping of scalars, lists, tables and lists of tables: all that the two files need."""
    return "\n".join(_toml_lines(table, "")) + "\n"


def _toml_lines(table: dict[str, Any], path: str) -> list[str]:
    lines = [f"{key} = {_toml_value(value)}" for key, value in table.items() if not _is_table(value)]
    for key, value in table.items():
        name = f"{path}.{key}" if path else key
        if isinstance(value, dict):
            lines += ["", f"[{name}]", *_toml_lines(value, name)]
        elif _is_table(value):
            for each in value:
                lines += ["", f"[[{name}]]", *_toml_lines(each, name)]
    return lines


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml_value(each) for each in value)}]"
    if isinstance(value, str):
        return json_text.write(value, ensure_ascii=False)  # TOML's basic strings take JSON's escapes
    if isinstance(value, (int, float)):
        return repr(value)
    raise TypeError(f"{value!r} has no place in a configuration")
