"""The metadata of a LoRA file: `ss_*` as sd-scripts writes them and `modelspec.*` 1.0.1.

In: a plan, and what only the training knows (`TrainingFacts`). Out: a table of strings for the file's header. Tools of the
ecosystem read rank, base model, trigger and settings from it. It holds no path of this machine. Pure.

Key names and their meaning: sd-scripts' train_network.py and library/sai_model_spec.py; ModelSpec: Stability AI.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from .. import json_text
from ..architectures import architecture
from ..plan import TrainingPlan


@dataclass(frozen=True)
class TrainingFacts:
    """What the training knows and the plan doesn't."""

    step: int
    epoch: int
    epochs: int
    train_images: int
    """Training pictures, repeats counted."""
    validation_images: int
    batches_per_epoch: int
    processes: int = 1
    started_at: float = 0.0
    """Unix time in seconds; 0 leaves times out, so that the same training gives the same bytes."""
    finished_at: float = 0.0
    tag_frequency: Mapping[str, int] = field(default_factory=dict)
    """How many captions hold each tag."""
    buckets: Mapping[tuple[int, int], int] = field(default_factory=dict)
    """Pictures in each bucket, by (width, height) in pixels."""


def training_metadata(
    plan: TrainingPlan, facts: TrainingFacts, *, title: str = "", about: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The complete metadata of a checkpoint. `about` may hold author, license, description, tags, usage_hint."""
    values = {**_of_plan(plan), **_of_settings(plan), **_of_training(plan, facts), **_of_dataset(plan, facts)}
    metadata = {key: str(value) for key, value in values.items()}
    return metadata | _modelspec(plan, facts, title or plan.character, about or {})


def _of_plan(plan: TrainingPlan) -> dict[str, Any]:
    return {
        "ss_session_id": int(plan.run_id, 16) % 2**32,
        "ss_output_name": plan.character,
        "ss_base_model_version": architecture(plan.base_model.family).names.base_version,
        "ss_sd_model_name": plan.base_model.name.replace("\\", "/").rsplit("/", 1)[-1],
        "ss_new_sd_model_hash": plan.base_model.sha256,
        "ss_sd_model_hash": plan.base_model.sha256[:8],
        "ss_v2": False,
        "ss_network_module": "networks.lora",
        "ss_training_comment": f"trained by Wizdroid's {plan.engine} engine {plan.engine_version}, run {plan.run_id}",
    }


def _of_settings(plan: TrainingPlan) -> dict[str, Any]:
    settings = plan.settings
    network_args = (
        {"conv_dim": settings.conv_dim, "conv_alpha": settings.conv_alpha} if settings.conv_dim else {}
    )
    options = ",".join(f"{name}={value}" for name, value in settings.optimizer_args.items())
    text_rate = None if settings.network_train_unet_only else settings.text_encoder_lr
    same_name = (
        "unet_lr", "gradient_checkpointing", "gradient_accumulation_steps", "max_train_steps", "lr_warmup_steps",
        "lr_scheduler", "network_dim", "network_alpha", "network_dropout", "mixed_precision", "clip_skip",
        "max_token_length", "cache_latents", "seed", "noise_offset", "zero_terminal_snr", "max_grad_norm",
        "caption_dropout_rate", "caption_tag_dropout_rate", "min_snr_gamma", "validation_seed", "validation_split",
        "validate_every_n_steps",
    )  # fmt: skip
    values: dict[str, Any] = {f"ss_{name}": getattr(settings, name) for name in same_name}
    return values | {
        "ss_learning_rate": settings.unet_lr,
        "ss_text_encoder_lr": text_rate,
        "ss_optimizer": settings.optimizer_type + (f"({options})" if options else ""),
        "ss_network_args": json_text.write(network_args),
        "ss_noise_offset": settings.noise_offset or None,
        "ss_min_snr_gamma": settings.min_snr_gamma or None,
        "ss_network_dropout": settings.network_dropout or None,
        "ss_full_fp16": False,
        "ss_full_bf16": False,
        "ss_loss_type": "l2",
        "ss_prior_loss_weight": 1.0,
        "ss_caption_dropout_every_n_epochs": 0,
    }


def _of_training(plan: TrainingPlan, facts: TrainingFacts) -> dict[str, Any]:
    times = {"ss_training_started_at": facts.started_at, "ss_training_finished_at": facts.finished_at}
    return {
        **{key: when for key, when in times.items() if when},
        "ss_steps": facts.step,
        "ss_epoch": facts.epoch,
        "ss_num_epochs": facts.epochs,
        "ss_num_train_images": facts.train_images,
        "ss_num_validation_images": facts.validation_images,
        "ss_num_reg_images": 0,
        "ss_num_batches_per_epoch": facts.batches_per_epoch,
    }


def _of_dataset(plan: TrainingPlan, facts: TrainingFacts) -> dict[str, Any]:
    settings, name = plan.settings, f"{plan.settings.num_repeats}_{plan.dataset.slug}"
    buckets = {
        str(index): {"resolution": list(size), "count": count}
        for index, (size, count) in enumerate(sorted(facts.buckets.items()))
    }
    pictures = {"n_repeats": settings.num_repeats, "img_count": plan.dataset.images}
    return {
        "ss_batch_size_per_device": settings.train_batch_size,
        "ss_total_batch_size": settings.train_batch_size
        * settings.gradient_accumulation_steps
        * facts.processes,
        "ss_resolution": f"({settings.resolution}, {settings.resolution})",
        "ss_color_aug": False,
        "ss_random_crop": False,
        "ss_flip_aug": settings.flip_aug,
        "ss_shuffle_caption": settings.shuffle_caption,
        "ss_keep_tokens": settings.keep_tokens,
        "ss_enable_bucket": settings.enable_bucket,
        "ss_bucket_no_upscale": settings.bucket_no_upscale,
        "ss_min_bucket_reso": settings.min_bucket_reso,
        "ss_max_bucket_reso": settings.max_bucket_reso,
        "ss_dataset_dirs": json_text.write({name: pictures}),
        "ss_reg_dataset_dirs": "{}",
        "ss_tag_frequency": json_text.write({name: dict(facts.tag_frequency)}, ensure_ascii=False),
        "ss_bucket_info": json_text.write({"buckets": buckets}),
    }


def _modelspec(
    plan: TrainingPlan, facts: TrainingFacts, title: str, about: Mapping[str, str]
) -> dict[str, str]:
    settings, family = plan.settings, architecture(plan.base_model.family)
    when = datetime.fromtimestamp(int(facts.finished_at), timezone.utc).replace(tzinfo=None)
    date = when.isoformat() if facts.finished_at else ""
    values = {
        "sai_model_spec": "1.0.1",
        "architecture": family.names.modelspec,
        "implementation": family.names.implementation,
        "implementation_version": f"wizdroid-lora-training/{plan.engine}-{plan.engine_version}",
        "title": title,
        "resolution": f"{settings.resolution}x{settings.resolution}",
        "date": date,
        "prediction_type": "v" if settings.prediction_type == "v_prediction" else "epsilon",
        "trigger_phrase": plan.dataset.trigger,
        **about,
    }
    if (settings.min_timestep, settings.max_timestep) != (0, 1000):
        values["timestep_range"] = f"{settings.min_timestep},{settings.max_timestep}"
    if family.captions.clip_skip:
        values["encoder_layer"] = str(settings.clip_skip)
    return {f"modelspec.{name}": text for name, text in values.items() if text}
