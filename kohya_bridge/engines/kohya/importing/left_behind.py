"""Options that stay behind, and the sentence that says why.

In: an option of sd-scripts with its value, what else the file names, and the family. Out: why it is not carried; empty where it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ....architectures import ARCHITECTURES
from ....settings import TrainingSettings
from ..checking import REFUSED
from .origin import options_of, script_of, scripts_with

OF_ONE_RUN = (
    "save_every_n_epochs", "save_n_epoch_ratio", "save_last_n_epochs", "save_last_n_epochs_state", "save_last_n_steps", "save_last_n_steps_state",
    "save_state", "save_state_on_train_end", "save_every_n_steps", "cache_latents_to_disk", "cache_text_encoder_outputs_to_disk", "lowram",
    "highvram", "max_data_loader_n_workers", "persistent_data_loader_workers", "skip_cache_check", "sample_every_n_steps", "sample_every_n_epochs",
    "sample_at_first", "sample_sampler", "sample_batch_size", "validate_every_n_epochs", "log_prefix", "log_config", "mem_eff_save",
    "show_timesteps", "show_timesteps_resolution", "ddp_timeout", "ddp_gradient_as_bucket_view", "ddp_static_graph",
)  # fmt: skip
"""Names that say something about one run or its machine, not about how it trains."""
OF_THE_CARD = (
    "no_half_vae", "vae_batch_size", "blocks_to_swap", "single_blocks_to_swap", "double_blocks_to_swap", "cpu_offload_checkpointing",
    "unsloth_offload_checkpointing", "vae_chunk_size", "vae_disable_cache", "text_encoder_batch_size", "text_encoder_cpu", "t5xxl_device",
    "disable_mmap_load_safetensors", "split_attn", "attn_mode", "use_flash_attn", "use_sage_attn", "fused_backward_pass",
)  # fmt: skip
"""What fits a model into a card without changing what is trained. The native engine sees to it by itself, so on their own these are no
reason to train with sd-scripts."""
COUNTS_ONLY_WITH = {
    "multires_noise_discount": "multires_noise_iterations",
    "ip_noise_gamma_random_strength": "ip_noise_gamma",
    "noise_offset_random_strength": "noise_offset",
    "adaptive_noise_scale": "noise_offset",
    "token_warmup_min": "token_warmup_step",
    "dim_from_weights": "network_weights",
    "scale_v_pred_loss_like_noise_pred": "v_parameterization",
    "dynamo_backend": "torch_compile",
    "lr_scheduler_args": "lr_scheduler_type",
    "prior_loss_weight": "reg_data_dir",
    "secondary_separator": "keep_tokens_separator",
}
"""Options that sd-scripts looks at only where another one is on."""
FILES = ("vae", "ae", "clip_l", "clip_g", "t5xxl", "qwen3", "gemma2", "text_encoder", "byt5")
HUBER = ("huber_c", "huber_schedule", "huber_scale")
METADATA = "is a word for the LoRA's metadata; packaging writes those."
_MERGED_FILES = "it is a list of files there; name the training adapter in settings.base_weights."


def why_left(name: str, value: Any, named: Mapping[str, Any], family: str) -> str:
    """Why an option is not carried, as a sentence; empty where it is. `named` is all that the file names, `family` may be `auto`."""
    return (
        _what_it_is(name, value)
        or _not_here(name, family)
        or _does_nothing(name, value, named, family)
        or _a_path(value)
    )


def _what_it_is(name: str, value: Any) -> str:
    if name in REFUSED:
        return f"it {REFUSED[name]}"
    if name in OF_ONE_RUN:
        return "it is about saving, sampling or the machine; the preset's own way is kept."
    if name.startswith("metadata_"):
        return f"it {METADATA}"
    if name in ("base_weights", "base_weights_multiplier"):
        return _MERGED_FILES
    if name in FILES:
        return "it names a file; the model files of a family are found in ComfyUI's folders, or named in model_files."
    if name == "network_weights":
        return "it names a path; name the LoRA to start from in settings."
    return "Stable Diffusion 2 is not trained here." if name == "v2" and value is True else ""


def _not_here(name: str, family: str) -> str:
    has = scripts_with(name)
    if name in TrainingSettings.model_fields:
        return ""
    if not has:
        return "sd-scripts has no option of that name."
    if family != "auto" and name not in options_of(script_of(family)):
        return f"{script_of(family)}.py has no such option; {', '.join(has)} has it."
    return ""


def _does_nothing(name: str, value: Any, named: Mapping[str, Any], family: str) -> str:
    if name in TrainingSettings.model_fields:
        return ""
    other = COUNTS_ONLY_WITH.get(name)
    if other and not named.get(other):
        return f"it counts only with {other}."
    if name in HUBER and named.get("loss_type") not in ("huber", "smooth_l1"):
        return "it counts only with the losses huber and smooth_l1."
    known = {**options_of(scripts_with(name)[0]), **options_of(script_of(family))}
    if value is False or value == 0 or value == known[name]:
        return "it is what sd-scripts does anyway."
    of_family = ARCHITECTURES.get(family)
    if of_family and of_family.kohya and of_family.kohya.options.get(name) == value:
        return "it is set for this family anyway."
    return ""


def _a_path(value: Any) -> str:
    texts = value if isinstance(value, list) else [value]
    return (
        "it names a path."
        if any(isinstance(each, str) and ("/" in each or "\\" in each) for each in texts)
        else ""
    )
