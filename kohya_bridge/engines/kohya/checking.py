"""What of a plan sd-scripts would not take, or would take otherwise than it is meant. Found before anything is started.

In: a plan, and the parser's own list of options. Out: problems. sd-scripts itself reads its TOML without checking names, types
or choices, so all of that is done here.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from ...architectures import architecture
from ...architectures.base import Architecture, sd_scripts
from ...device.description import Device
from ...device.precision import BF16, FP16, NO, Precision, settled, usual
from ...plan import LATER_SETTINGS, OBJECTIVE_OF_FLOW, TrainingPlan, chosen_later_settings
from ...settings import TrainingSettings
from ...wrong_values import with_point
from ..contract import MachinePaths, Problem
from .options import Option, ParserOptions
from .render import PROCESSES
from .tokenizers import missing_tokenizers

# Options that a setting of the plan decides, and which one. Everything in TrainingSettings is added below.
DECIDED_BY = {
    "learning_rate": "unet_lr",
    "xformers": "attention",
    "sdpa": "attention",
    "v_parameterization": "prediction_type",
    "max_train_epochs": "max_train_steps",
    "use_8bit_adam": "optimizer_type",
    "use_lion_optimizer": "optimizer_type",
    "dataset_repeats": "num_repeats",
    "save_every_n_epochs": "save_every_n_steps",
    "save_n_epoch_ratio": "save_every_n_steps",
    "save_last_n_epochs": "save_last_n_states",
    "save_last_n_epochs_state": "save_last_n_states",
    "save_last_n_steps": "save_last_n_states",
    "save_last_n_steps_state": "save_last_n_states",
    "save_state_on_train_end": "save_state",
    "validate_every_n_epochs": "validate_every_n_steps",
    "dim_from_weights": "network_dim",
    **{name: name for name in TrainingSettings.model_fields},
}
# Settings whose list of choices is shorter than upstream's: the kohya section may name what the setting cannot.
WIDER_THAN_SETTING = ("optimizer_type", "lr_scheduler")
_A_PATH = "names a file or folder, and a plan may not: anyone who can queue a prompt could name any file of this machine."
A_SECRET = "is a secret; plans are copied and read. Set it in the environment."
_OURS = "is set by the run itself."
REFUSED = {
    **dict.fromkeys(
        ("train_data_dir", "reg_data_dir", "in_json", "conditioning_data_dir", "dataset_config", "caption_extension",
         "caption_extention", "cache_info"),
        "is about where pictures and captions lie; the dataset says that.",
    ),
    **dict.fromkeys(
        ("metadata_thumbnail", "offload_optimizer_nvme_path", "offload_param_nvme_path", "log_tracker_config", "console_log_file", "llm_adapter_path", "t5_tokenizer_path",
         "controlnet_model_name_or_path"),
        _A_PATH,
    ),
    **dict.fromkeys(
        ("pretrained_model_name_or_path", "tokenizer_cache_dir", "output_dir", "output_name", "save_model_as", "config_file",
         "output_config", "logging_dir", "sample_prompts", "training_comment", "console_log_simple", "console_log_level",
         "log_with", "log_tracker_name", "wandb_run_name", "no_metadata", "max_validation_steps"),
        _OURS,
    ),
    **dict.fromkeys(
        ("resume", "initial_step", "initial_epoch", "skip_until_initial_step", "resume_from_huggingface"),
        "is decided at each start: a run resumes from its own newest state.",
    ),
    **dict.fromkeys(
        ("huggingface_repo_id", "huggingface_repo_type", "huggingface_path_in_repo", "huggingface_repo_visibility",
         "save_state_to_huggingface", "async_upload"),
        "uploads; a training run publishes nothing.",
    ),
    **dict.fromkeys(("wandb_api_key", "huggingface_token"), A_SECRET),
    **dict.fromkeys(
        ("deepspeed", "zero_stage", "zero3_init_flag", "zero3_save_16bit_model", "fp16_master_weights_and_gradients",
         "offload_optimizer_device", "offload_param_device"),
        "belongs to DeepSpeed, under which stopping and resuming are not supported here.",
    ),
    "dataset_class": "loads code by name.",
    "debug_dataset": "opens windows and never trains.",
}  # fmt: skip
OPTIMISERS = frozenset(
    [
        "adamw",
        "adamw8bit",
        "pagedadamw",
        "pagedadamw8bit",
        "pagedadamw32bit",
        "lion",
        "lion8bit",
        "pagedlion8bit",
        "sgdnesterov",
        "sgdnesterov8bit",
        "ademamix8bit",
        "pagedademamix8bit",
        "dadaptation",
        "dadaptadagrad",
        "dadaptadam",
        "dadaptadan",
        "dadaptadanip",
        "dadaptlion",
        "dadaptsgd",
        "adafactor",
        "prodigy",
        "radamschedulefree",
        "adamwschedulefree",
        "sgdschedulefree",
    ]
)
OPTIMISER_PACKAGES = (
    "torch.optim.", "bitsandbytes.optim.", "prodigyplus.", "prodigyopt.", "pytorch_optimizer.", "lion_pytorch.",
    "schedulefree.", "dadaptation.", "came_pytorch.", "transformers.optimization.",
)  # fmt: skip
SCHEDULER_PACKAGES = ("torch.optim.lr_scheduler.", "pytorch_optimizer.")
NETWORK_MODULES = ("networks.", "lycoris.kohya")


def plan_problems(plan: TrainingPlan, paths: MachinePaths, options: ParserOptions | None) -> list[Problem]:
    """Everything in the plan that this engine can't honour. Without `options` their names and types are not checked."""
    of_family = architecture(plan.base_model.family)
    found = [*_section_problems(plan, of_family, options), *_setting_problems(plan.settings, of_family)]
    found += [*_contradictions(plan, of_family), *_vae_advice(plan, of_family)]
    missing = missing_tokenizers(of_family, paths.tokenizer_dir)
    if missing:
        found.append(
            Problem(
                "tokenizer_missing",
                f"This ComfyUI has no tokenizer for {of_family.title}: {', '.join(missing)}.",
                "Use a ComfyUI that brings comfy/sd1_tokenizer and comfy/text_encoders.",
            )
        )
    return found


def suitable_precision(kohya: Mapping[str, Any], of_family: Architecture, device: Device) -> Precision:
    """What `mixed_precision: auto` means for sd-scripts: what the device does best, unless an option or the family wants another."""
    on = _switched_on(kohya)
    for option, name in (("full_bf16", BF16), ("full_fp16", FP16)):
        if option in on:
            return Precision(name, f"{name}: {option} asks for it")
    found = usual(device)
    if found.name in sd_scripts(of_family).refused_precisions:
        return Precision(BF16, f"{BF16}: {found.name} is too narrow for {of_family.title}")
    eight_bit = sorted(on & {"fp8_base", "fp8_base_unet"})
    if found.name == NO and eight_bit:
        half = FP16 if device.is_gpu and BF16 in settled(device).slower else BF16
        return Precision(half, f"{half}: {eight_bit[0]} needs a half format")
    return found


def _vae_advice(plan: TrainingPlan, of_family: Architecture) -> Iterator[Problem]:
    name = plan.settings.mixed_precision
    if name in sd_scripts(of_family).vae_overflows_in and "no_half_vae" not in _switched_on(plan.kohya):
        problem = (
            f"mixed_precision {name}: {of_family.title}'s own VAE overflows in it, and the latents are NaN."
        )
        fix = "Set kohya.no_half_vae to true, unless the checkpoint carries a VAE that was made for half precision."
        yield Problem("half_vae", problem, fix, blocks=False)


def _switched_on(section: Mapping[str, Any]) -> set[str]:
    return {name for name, value in section.items() if value not in (None, False, 0)}


def _section_problems(
    plan: TrainingPlan, of_family: Architecture, options: ParserOptions | None
) -> Iterator[Problem]:
    model_files = {each.option for each in of_family.model_files}
    for name, value in plan.kohya.items():
        where = f"kohya.{name}"
        if name in model_files:
            continue  # checked where the files are looked for
        if name == PROCESSES:
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 64:
                yield Problem(
                    "option_value", f"{where} = {value!r} must be a number of GPUs.", "Write 1, 2, ..."
                )
        elif name in REFUSED:
            yield Problem("option_refused", f"{where} {REFUSED[name]}", "Take it out of the kohya section.")
        elif name in DECIDED_BY and not _is_wider(name, value):
            yield Problem(
                "option_decided",
                f"{where} = {value!r}: the setting {DECIDED_BY[name]} decides this (it is "
                f"{getattr(plan.settings, DECIDED_BY[name])!r}).",
                f"Set settings.{DECIDED_BY[name]} instead.",
            )
        elif options is not None and name not in options:
            near = difflib.get_close_matches(name, options, n=1)
            yield Problem(
                "option_unknown",
                f"{where}: {sd_scripts(of_family).script} has no option of that name.",
                f"Did you mean {near[0]!r}?"
                if near
                else "`python -m kohya_bridge.engines.kohya.options` lists them.",
            )
        else:
            wrong = (_wrong_value(options[name], value) if options else "") or _wrong_code(name, value)
            if wrong:
                yield Problem("option_value", f"{where} = {value!r} {wrong}", _meant(options, name, value))


def _meant(options: ParserOptions | None, name: str, value: Any) -> str:
    """What to write instead, where the wrong value tells it: decimals behind a comma, or nearly one of the choices."""
    if isinstance(value, str) and (number := with_point(value)):
        return f"Write {number}: decimals stand behind a point."
    choices = [
        str(each) for each in (options[name].choices if options and name in options else None) or () if each
    ]
    near = difflib.get_close_matches(str(value), choices, n=1)
    return f"Did you mean {near[0]!r}?" if near else "Correct the value."


def _is_wider(name: str, value: Any) -> bool:
    """Whether the kohya section names something that the setting of that name has no word for."""
    if name not in WIDER_THAN_SETTING:
        return False
    choices = TrainingSettings.model_fields[name].annotation.__args__  # type: ignore[union-attr]
    return value not in choices


def _wrong_value(option: Option, value: Any) -> str:
    """What is wrong with a value of this option, as the rest of a sentence, or ""."""
    if option.many:
        if not isinstance(value, list):
            return "must be a list."
        return next((wrong for each in value if (wrong := _wrong_scalar(option, each))), "")
    return _wrong_scalar(option, value)


def _wrong_scalar(option: Option, value: Any) -> str:
    if option.choices is not None and value not in option.choices:
        return f"must be one of {', '.join(str(each) for each in option.choices if each is not None)}."
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    right = {
        "flag": isinstance(value, bool),
        "int": isinstance(value, int) and not isinstance(value, bool),
        "float": number,
        "number": number,
    }.get(option.type, isinstance(value, str))
    kind = {"flag": "true or false", "int": "a whole number", "float": "a number", "number": "a number"}.get(
        option.type, "text"
    )
    return "" if right else f"must be {kind}."


def _wrong_code(name: str, value: Any) -> str:
    """Options that import code by name take known names only."""
    text = str(value)
    if (
        name == "optimizer_type"
        and text.lower() not in OPTIMISERS
        and not text.startswith(OPTIMISER_PACKAGES)
    ):
        return "is not a known optimiser."
    if name == "lr_scheduler_type" and "." in text and not text.startswith(SCHEDULER_PACKAGES):
        return "is not a known scheduler class."
    if name == "network_module" and not text.startswith(NETWORK_MODULES):
        return "is not a network module of sd-scripts or LyCORIS."
    return ""


def _setting_problems(settings: TrainingSettings, of_family: Architecture) -> Iterator[Problem]:
    script = sd_scripts(of_family)
    step = script.bucket_step
    if settings.enable_bucket and settings.bucket_reso_steps % step:
        yield Problem(
            "bucket_step",
            f"bucket_reso_steps {settings.bucket_reso_steps}: sd-scripts wants a multiple of {step} for {of_family.title}.",
            f"Set it to {step}.",
        )
    if (
        settings.enable_bucket
        and not settings.min_bucket_reso <= settings.resolution <= settings.max_bucket_reso
    ):
        yield Problem(
            "bucket_range",
            f"resolution {settings.resolution} is not between min_bucket_reso {settings.min_bucket_reso} and "
            f"max_bucket_reso {settings.max_bucket_reso}; sd-scripts refuses that.",
            "Widen the bucket range.",
        )
    if not settings.enable_bucket and not settings.cache_latents:
        yield Problem(
            "no_bucket_no_cache",
            "enable_bucket false with cache_latents false: sd-scripts then takes only pictures of the exact resolution.",
            "Set one of them to true.",
        )
    if settings.diff_output_preservation_multiplier:
        yield Problem(
            "preservation",
            f"diff_output_preservation_multiplier {settings.diff_output_preservation_multiplier}: sd-scripts has no such thing.",
            "Set it to 0, or choose the native engine.",
        )
    for name in chosen_later_settings(settings, OBJECTIVE_OF_FLOW):
        yield Problem(
            name,
            f"{name} {getattr(settings, name)}: for sd-scripts this stands in the kohya section, with the script's own name.",
            f"Write it there and set {name} to {LATER_SETTINGS[name] or 'nothing'}, or choose the native engine.",
        )
    cached = settings.cache_text_encoder_outputs and script.caches_text
    if cached and settings.caption_dropout_rate:
        yield Problem(
            "cached_dropout",
            f"caption_dropout_rate {settings.caption_dropout_rate} with cache_text_encoder_outputs: sd-scripts refuses that.",
            "Set caption_dropout_rate to 0, or cache_text_encoder_outputs to false.",
        )
    if settings.cache_text_encoder_outputs and not script.caches_text:
        yield _advice(
            f"sd-scripts has no cache for {of_family.title} captions; they are encoded at every step."
        )
    if settings.clip_skip > 1 and not of_family.captions.clip_skip:
        yield _advice(f"clip_skip {settings.clip_skip} has no effect on {of_family.title}.")
    if of_family.flow:
        for name in ("min_snr_gamma", "noise_offset"):
            if getattr(settings, name):
                yield _advice(f"{name} has no effect on {of_family.title}: it is a flow model.")
        if settings.prediction_type != "epsilon" or settings.zero_terminal_snr:
            yield _advice(f"prediction_type and zero_terminal_snr have no meaning for {of_family.title}.")
    if not of_family.text_encoder_prefixes and not settings.network_train_unet_only:
        yield Problem(
            "text_encoder",
            f"network_train_unet_only false: sd-scripts trains no text encoder of {of_family.title}.",
            "Set it to true.",
        )
    if settings.mixed_precision in script.refused_precisions:
        yield Problem(
            "precision",
            f"mixed_precision {settings.mixed_precision} is too narrow for {of_family.title}.",
            "Set it to bf16.",
        )


def _advice(sentence: str) -> Problem:
    return Problem("no_effect", sentence, "", blocks=False)


def _contradictions(plan: TrainingPlan, of_family: Architecture) -> Iterator[Problem]:
    """Pairs that upstream refuses late, after the models are loaded, or silently takes for something else."""
    settings, section, script = plan.settings, plan.kohya, sd_scripts(of_family)
    on = _switched_on(section)
    rules = (
        (
            on & {"fp8_base", "fp8_base_unet"} and settings.mixed_precision == "no",
            "fp8_base needs mixed_precision fp16 or bf16; it is no.",
        ),
        ("full_fp16" in on and settings.mixed_precision != "fp16", "full_fp16 needs mixed_precision fp16."),
        ("full_bf16" in on and settings.mixed_precision != "bf16", "full_bf16 needs mixed_precision bf16."),
        (
            on & {"color_aug", "random_crop"} and settings.cache_latents,
            "color_aug and random_crop change pictures each time; cache_latents is true.",
        ),
        (
            "token_warmup_step" in on and settings.cache_text_encoder_outputs and script.caches_text,
            "token_warmup_step changes captions; cache_text_encoder_outputs is true.",
        ),
        (
            "adaptive_noise_scale" in on and not settings.noise_offset,
            "adaptive_noise_scale needs noise_offset.",
        ),
        (
            "scale_v_pred_loss_like_noise_pred" in on and settings.prediction_type != "v_prediction",
            "scale_v_pred_loss_like_noise_pred needs prediction_type v_prediction.",
        ),
        (
            "v_pred_like_loss" in on and settings.prediction_type == "v_prediction",
            "v_pred_like_loss can't be used with prediction_type v_prediction.",
        ),
        (
            "blocks_to_swap" in on and not script.swaps_blocks,
            f"blocks_to_swap has no meaning for {of_family.title}.",
        ),
        (
            {"blocks_to_swap", "cpu_offload_checkpointing"} <= on,
            "blocks_to_swap and cpu_offload_checkpointing can't be used together.",
        ),
        (
            "network_train_text_encoder_only" in on and settings.network_train_unet_only,
            "network_train_text_encoder_only and network_train_unet_only: nothing would be trained.",
        ),
        (
            "fused_backward_pass" in on
            and (settings.optimizer_type != "Adafactor" or settings.gradient_accumulation_steps > 1),
            "fused_backward_pass needs Adafactor and gradient_accumulation_steps 1.",
        ),
        (
            "masked_loss" in on and "alpha_mask" not in on,
            "masked_loss needs alpha_mask: the mask is the alpha channel.",
        ),
        (
            "alpha_mask" in on,
            "alpha_mask: pictures are laid on white when they are staged, so that no alpha is left.",
        ),
    )
    for wrong, sentence in rules:
        if wrong:
            yield Problem("contradiction", sentence, "Change one of them.")
