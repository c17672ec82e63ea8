"""A preset of kohya_ss' GUI as the sd-scripts options that the GUI would start with it.

In: the preset's fields. Out: options, the family that its check boxes mean, and what belongs to the GUI alone. The rules are those of
kohya_ss (kohya_gui/lora_gui.py, train_model): which field is an argument of which LoRA type, what 0 means in it, what depends on another field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ....architectures import ARCHITECTURES
from .values import as_meant, not_a_number, words_of

EMPTY = ("", None)
OF_THE_GUI = "it belongs to the GUI itself."
OF_THE_LAUNCH = "it is about how accelerate starts processes; this program starts its own."
NOT_YET_THERE = "the GUI itself ignores it."
OF_ANOTHER_TYPE = "it is an argument of other kinds of LoRA than {kind}."
OF_ANOTHER_FAMILY = "it is about {family} models."
OF_OTHER_NOISE = "it counts only with noise_offset_type {kind}."
IDLE = "it stands at the value that switches it off."

FIELDS_OF_THE_GUI = {
    **dict.fromkeys(("model_list", "noise_offset_type", "save_as_bool", "file_path", "headless", "print_only"), OF_THE_GUI),
    **dict.fromkeys(
        ("num_cpu_threads_per_process", "num_processes", "num_machines", "multi_gpu", "gpu_ids", "main_process_port",
         "dynamo_mode", "dynamo_use_fullgraph", "dynamo_use_dynamic", "extra_accelerate_launch_args"),
        OF_THE_LAUNCH,
    ),
    **dict.fromkeys(("stop_text_encoder_training", "stop_text_encoder_training_pct", "lowvram"), NOT_YET_THERE),
}  # fmt: skip
RENAMED = {"optimizer": "optimizer_type", "max_resolution": "resolution"}
OFF_AT_ZERO = frozenset(
    ("adaptive_noise_scale", "blocks_to_swap", "clip_skip", "ip_noise_gamma", "max_timestep", "max_train_epochs", "max_train_steps", "min_snr_gamma",
     "min_timestep", "multires_noise_iterations", "noise_offset", "sample_every_n_epochs", "sample_every_n_steps", "save_every_n_epochs",
     "save_every_n_steps", "save_last_n_epochs", "save_last_n_epochs_state", "save_last_n_steps", "save_last_n_steps_state", "scale_weight_norms",
     "seed", "unet_lr", "v_pred_like_loss", "vae_batch_size")
)  # fmt: skip
"""Fields in which the GUI leaves an option out at 0."""
BY_NOISE = {
    **dict.fromkeys(("noise_offset", "adaptive_noise_scale", "noise_offset_random_strength"), "Original"),
    **dict.fromkeys(("multires_noise_iterations", "multires_noise_discount"), "Multires"),
}

# --- families -------------------------------------------------------------------------------------------------------------

_BY_FAMILY = {each.name: each.kohya for each in ARCHITECTURES.values() if each.kohya}
FLAGS = {kohya.gui_flag: name for name, kohya in _BY_FAMILY.items() if kohya.gui_flag}
"""Family by the check box that means it."""
TYPES_OF_FAMILIES = {each: name for name, kohya in _BY_FAMILY.items() for each in kohya.gui_types}
_FAMILIES_OF: dict[str, list[str]] = {}
"""Families by the field that the GUI reads for them alone."""
for _name, _kohya in _BY_FAMILY.items():
    for _field in _kohya.gui_fields:
        _FAMILIES_OF.setdefault(_field, []).append(_name)
_OF_ALL_FLOW = ("blocks_to_swap", "show_timesteps", "show_timesteps_resolution")


def _fields_of(family: str) -> Mapping[str, str]:
    """The fields that the GUI reads for a family: those of the family whose script trains it, where it has none of its own."""
    own = _BY_FAMILY.get(family)
    if own is None:
        return {}
    return own.gui_fields or next(
        (each.gui_fields for each in _BY_FAMILY.values() if each.script == own.script and each.gui_fields), {}
    )


# --- kinds of LoRA --------------------------------------------------------------------------------------------------------

_BLOCKS = ("down_lr_weight", "mid_lr_weight", "up_lr_weight", "block_lr_zero_threshold", "block_dims", "block_alphas", "conv_block_dims",
           "conv_block_alphas")  # fmt: skip
_DROPOUTS = ("rank_dropout", "module_dropout")
_CONV = ("conv_dim", "conv_alpha")
_LYCORIS = ("LyCORIS_preset", *_CONV, *_DROPOUTS, "rank_dropout_scale", "train_norm")
_ADAPTED = (*_LYCORIS, "use_tucker", "bypass_mode", "dora_wd", "use_scalar")
_OF_FLUX = ("img_attn_dim", "img_mlp_dim", "img_mod_dim", "single_dim", "txt_attn_dim", "txt_mlp_dim", "txt_mod_dim", "single_mod_dim", "in_dims",
            "train_double_block_indices", "train_single_block_indices", "train_blocks", "split_qkv", "train_t5xxl", "train_lora_ggpo", "ggpo_sigma",
            "ggpo_beta")  # fmt: skip
_PLUS = ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio")


@dataclass(frozen=True)
class Kind:
    """A LoRA type of the GUI: sd-scripts' network module (empty: the family's own), the algorithm of lycoris.kohya, and the fields that are its
    arguments."""

    module: str = ""
    algorithm: str = ""
    arguments: tuple[str, ...] = ()


KINDS: Mapping[str, Kind] = {
    "Standard": Kind(arguments=(*_BLOCKS, *_DROPOUTS)),
    "Kohya LoCon": Kind(arguments=(*_CONV, *_BLOCKS, *_DROPOUTS)),
    "Kohya DyLoRA": Kind("networks.dylora", arguments=(*_CONV, *_BLOCKS, *_DROPOUTS, "unit")),
    "Kohya LoHa": Kind("networks.loha", arguments=(*_CONV, *_DROPOUTS, "use_tucker")),
    "Kohya LoKr": Kind("networks.lokr", arguments=(*_CONV, *_DROPOUTS, "use_tucker", "factor")),
    "LoRA-FA": Kind("networks.lora_fa", arguments=(*_BLOCKS, *_DROPOUTS)),
    "Flux1": Kind(arguments=(*_OF_FLUX, *_DROPOUTS)),
    "Flux1 OFT": Kind("networks.oft_flux", arguments=("enable_all_linear",)),
    "HunyuanImage-2.1": Kind(arguments=_DROPOUTS),
    "Anima": Kind(arguments=_DROPOUTS),
    "Lumina": Kind(arguments=_DROPOUTS),
    "LoCon": Kind("lycoris.kohya", "locon", _ADAPTED),
    "LyCORIS/LoCon": Kind("lycoris.kohya", "locon", _ADAPTED),
    "LyCORIS/LoHa": Kind("lycoris.kohya", "loha", _ADAPTED),
    "LyCORIS/LoKr": Kind("lycoris.kohya", "lokr", (*_ADAPTED, "factor", "use_cp", "decompose_both")),
    "LyCORIS/DyLoRA": Kind("lycoris.kohya", "dylora", (*_LYCORIS, "use_tucker", "unit")),
    "LyCORIS/GLoRA": Kind("lycoris.kohya", "glora", (*_LYCORIS, "use_tucker")),
    "LyCORIS/iA3": Kind("lycoris.kohya", "ia3", ("LyCORIS_preset", *_CONV, "train_on_input")),
    "LyCORIS/BOFT": Kind("lycoris.kohya", "boft", (*_LYCORIS, "use_tucker")),
    "LyCORIS/Diag-OFT": Kind("lycoris.kohya", "diag-oft", (*_LYCORIS, "use_tucker", "constrain", "rescaled")),
    "LyCORIS/Native Fine-Tuning": Kind("lycoris.kohya", "full", ("LyCORIS_preset", *_DROPOUTS, "rank_dropout_scale", "train_norm")),
}  # fmt: skip
ARGUMENT_NAMES = {"LyCORIS_preset": "preset", "constrain": "constraint"}
IDLE_ARGUMENTS: Mapping[str, tuple[Any, ...]] = {
    "factor": (-1,), "LyCORIS_preset": ("full",), "train_double_block_indices": ("all",), "train_single_block_indices": ("all",),
    "train_blocks": ("all",), "ggpo_sigma": (), "ggpo_beta": (), "train_on_input": (), "unit": (), "conv_dim": (), "conv_alpha": (),
}  # fmt: skip
"""Values at which an argument does nothing, where that is not 0 or off. An empty tuple: each value means something."""
ALL_ARGUMENTS = frozenset(name for kind in KINDS.values() for name in kind.arguments) | frozenset(_PLUS)


@dataclass
class FromGui:
    """Options, and `(name, value, why)` of each field that is none."""

    options: dict[str, Any] = field(default_factory=dict)
    left: list[tuple[str, Any, str]] = field(default_factory=list)


def is_gui_preset(fields: Mapping[str, Any]) -> bool:
    """Whether these are fields of the GUI rather than options of sd-scripts."""
    signs = ("LoRA_type", "max_resolution", "noise_offset_type", "lr_warmup", "optimizer", *FLAGS)
    return any(name in fields for name in signs)


def from_gui(fields: Mapping[str, Any]) -> FromGui:
    """The options that the GUI would write for sd-scripts, in its own units and with its own rules for what depends on what."""
    values = {name: as_meant(value) for name, value in fields.items() if value not in EMPTY}
    found = FromGui()
    family, kind = _family(values), str(values.get("LoRA_type", "Standard"))
    if family:
        found.options["family"] = family
    for name, value in values.items():
        _one(found, name, value, values, family=family, kind=kind)
    if kind in KINDS:
        _network(found, values, kind)
    else:
        found.left.append(("LoRA_type", kind, "there is no LoRA type of that name."))
    _no_numbers(found, values)
    _rates(found, values, family)
    _derived(found, values)
    for name in ("optimizer_args", "lr_scheduler_args"):
        if name in found.options:
            found.options[name] = words_of(found.options[name])
    found.options.update(_command_line(str(values.get("additional_parameters", ""))))
    return found


def _family(values: Mapping[str, Any]) -> str:
    """By its check box or LoRA type; `model_type` names another family of the same script."""
    checked = next((family for flag, family in FLAGS.items() if values.get(flag) in (True, 1)), "")
    checked = checked or TYPES_OF_FAMILIES.get(str(values.get("LoRA_type")), "")
    told = str(values.get("model_type", "")).lower()
    is_sister = checked and told in _BY_FAMILY and _BY_FAMILY[told].script == _BY_FAMILY[checked].script
    return told if is_sister else checked


def _one(found: FromGui, name: str, value: Any, values: Mapping[str, Any], *, family: str, kind: str) -> None:
    noise = str(values.get("noise_offset_type", "Original"))
    of_families = _FAMILIES_OF.get(name, [])
    own = _fields_of(family)
    if name in FIELDS_OF_THE_GUI:
        found.left.append((name, value, FIELDS_OF_THE_GUI[name]))
    elif name in ELSEWHERE:
        return
    elif name in ALL_ARGUMENTS:
        if not (name in _PLUS or (kind in KINDS and name in KINDS[kind].arguments)):
            found.left.append((name, value, OF_ANOTHER_TYPE.format(kind=kind)))
    elif name in BY_NOISE and BY_NOISE[name] != noise:
        found.left.append((name, value, OF_OTHER_NOISE.format(kind=BY_NOISE[name])))
    elif of_families and name not in own:
        titles = " or ".join(ARCHITECTURES[each].title for each in of_families if each in ARCHITECTURES)
        found.left.append((name, value, OF_ANOTHER_FAMILY.format(family=titles)))
    elif of_families:
        found.options[own[name]] = value
    elif name in OFF_AT_ZERO and value in (0, False):
        found.left.append((name, value, IDLE))
    elif name == "dynamo_backend":
        found.left.append((name, value, OF_THE_LAUNCH))
    elif name in _OF_ALL_FLOW and not family:
        found.left.append((name, value, "it is about flow models."))
    else:
        found.options[RENAMED.get(name, name)] = value


RATES = ("learning_rate", "unet_lr", "text_encoder_lr", "t5xxl_lr")
EPOCHS = ("epoch", "max_train_epochs", "max_train_steps", "lr_warmup_steps")
ELSEWHERE = frozenset(
    ("LoRA_type", "model_type", "additional_parameters", "lr_warmup", "xformers", *FLAGS, *RATES, *EPOCHS)
)
"""Fields that several others decide together."""


def _network(found: FromGui, values: Mapping[str, Any], kind: str) -> None:
    """sd-scripts' network module and its arguments, as the GUI writes them for this LoRA type."""
    of_kind = KINDS[kind]
    if of_kind.module:
        found.options["network_module"] = of_kind.module
    arguments = [f"algo={of_kind.algorithm}"] if of_kind.algorithm else []
    ggpo = values.get("train_lora_ggpo") in (True, 1)
    for name in of_kind.arguments:
        value = values.get(name)
        if name == "train_lora_ggpo" or (name.startswith("ggpo_") and not ggpo):
            continue
        if value is None or value in IDLE_ARGUMENTS.get(name, (0, False)):
            continue
        argument = (
            "block_size"
            if name == "unit" and of_kind.algorithm == "dylora"
            else ARGUMENT_NAMES.get(name, name)
        )
        arguments.append(f"{argument}={value}")
    arguments += [f"{name}={values[name]}" for name in _PLUS if values.get(name) not in (None, 0, False)]
    if arguments:
        found.options["network_args"] = arguments


def _rates(found: FromGui, values: Mapping[str, Any], family: str) -> None:
    """Which parts are trained follows from the rates: a text encoder rate of 0 means the U-Net alone, and the other way round."""
    unet, encoder, t5 = (_number(values.get(name)) for name in ("unet_lr", "text_encoder_lr", "t5xxl_lr"))
    rate = _number(values.get("learning_rate"))
    if rate:
        found.options["learning_rate"] = rate
    if unet:
        found.options["unet_lr"] = unet
    if encoder is not None:
        found.options["text_encoder_lr"] = [encoder, t5] if encoder and t5 else encoder
        found.options["network_train_unet_only"] = encoder == 0 and (unet is None or unet != 0)
    if family and not ARCHITECTURES[family].text_encoder_prefixes:
        found.options["network_train_unet_only"] = True
    if encoder and unet == 0:
        found.options["network_train_text_encoder_only"] = True
    if encoder == 0 and unet == 0:
        found.options["text_encoder_lr"] = rate or 0.0  # both 0: both are trained, at learning_rate
        found.options["network_train_unet_only"] = False


def _derived(found: FromGui, values: Mapping[str, Any]) -> None:
    """Numbers that the GUI works out of several fields: warm-up, epochs, the attention, restarts."""
    steps, percent = _number(values.get("lr_warmup_steps")), _number(values.get("lr_warmup"))
    if steps:
        found.options["lr_warmup_steps"] = int(steps)
    elif percent is not None:
        found.options["lr_warmup_steps"] = percent / 100
    epochs, most = _number(values.get("max_train_epochs")), _number(values.get("max_train_steps"))
    if epochs:
        found.options["max_train_epochs"] = int(epochs)
    elif most:
        found.options["max_train_steps"] = int(most)
    elif "max_train_steps" in values or "epoch" in values:
        found.options["gui_epochs"] = int(_number(values.get("epoch")) or 1)
    attention = values.get("xformers")
    if attention in ("xformers", "sdpa") or attention is True:
        found.options["sdpa" if attention == "sdpa" else "xformers"] = True
    if values.get("lr_scheduler") == "cosine_with_restarts" and "lr_scheduler_num_cycles" not in values:
        found.options["lr_scheduler_num_cycles"] = int(_number(values.get("epoch")) or 1)


def _no_numbers(found: FromGui, values: Mapping[str, Any]) -> None:
    for name in (*RATES, *EPOCHS, "lr_warmup"):
        if name in values and _number(values[name]) is None:
            found.left.append((name, values[name], not_a_number(values[name])))


def _number(value: Any) -> float | None:
    """A number as it is meant, None for anything else: what is no number is told by whoever takes the option."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _command_line(text: str) -> dict[str, Any]:
    """`--name value` pairs of the field for further parameters. The GUI drops quotation marks and parts words at blanks."""
    found: dict[str, Any] = {}
    name = ""
    for word in words_of(text):
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            found[name] = value or True
        elif name:
            before = found[name]
            found[name] = (
                word if before is True else [*(before if isinstance(before, list) else [before]), word]
            )
    return found
