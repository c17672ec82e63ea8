"""Carrying foreign options over into a request, one by one, with a reason for each that is left behind.

In: sd-scripts options with values as people's files hold them (numbers as text, `"True"`, lists). Out: an `Imported`. What
a setting of the plan means goes to the settings, what only sd-scripts knows to the kohya section.
"""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass
from typing import Any

from ...architectures import ARCHITECTURES
from ...device.description import Device
from ...device.precision import BF16, FP16, settled, usual
from ...errors import InvalidInput
from ...forbidding import parse
from ...plan import TrainingRequest
from ...redaction import LEFT_OUT, is_secret
from ...settings import TrainingSettings
from .checking import A_SECRET, REFUSED
from .foreign_values import as_meant, misfit, sides_in

SETTINGS = TrainingSettings.model_fields
OPTIMISERS = {
    name.lower(): name
    for name in TrainingSettings.model_fields["optimizer_type"].annotation.__args__  # type: ignore[union-attr]
}
SCHEDULERS = TrainingSettings.model_fields["lr_scheduler"].annotation.__args__  # type: ignore[union-attr]
# Names that say something about one run or its machine, not about how it trains.
OF_ONE_RUN = (
    "max_data_loader_n_workers", "persistent_data_loader_workers", "save_every_n_epochs", "save_n_epoch_ratio",
    "save_last_n_epochs", "save_last_n_epochs_state", "save_last_n_steps", "save_last_n_steps_state", "save_state",
    "save_state_on_train_end", "cache_latents_to_disk", "cache_text_encoder_outputs_to_disk", "lowram", "highvram",
    "sample_every_n_steps", "sample_every_n_epochs", "sample_sampler", "validate_every_n_epochs", "save_every_n_steps",
    "log_prefix", "log_config",
)  # fmt: skip
# What sd-scripts does anyway; naming it would only tie the request to the kohya engine.
UPSTREAM_DEFAULTS = {
    "loss_type": "l2",
    "huber_schedule": "snr",
    "huber_c": 0.1,
    "huber_scale": 1.0,
    "multires_noise_discount": 0.3,
    "prior_loss_weight": 1.0,
    "token_warmup_min": 1,
    "caption_separator": ",",
}


@dataclass(frozen=True)
class Left:
    """An option that was not carried, and why."""

    name: str
    value: Any
    why: str


@dataclass(frozen=True)
class Imported:
    """A request made from a foreign file. `notes` say where a value was translated rather than copied."""

    request: TrainingRequest
    source: str
    carried: tuple[str, ...]
    left: tuple[Left, ...]
    notes: tuple[str, ...]

    def report(self) -> str:
        """What was carried, translated and left, for a person."""
        lines = [f"{self.source}: {len(self.carried)} options carried, {len(self.left)} left behind."]
        lines += [f"  note: {note}" for note in self.notes]
        lines += [f"  left: {each.name} = {each.value!r}: {each.why}" for each in self.left]
        return "\n".join(lines)


def carry(
    options: dict[str, Any],
    *,
    dataset: str,
    base_model: str = "",
    images: int | None = None,
    source: str = "the file",
    device: Device | None = None,
) -> Imported:
    """The request that these options amount to; see `import_config`."""
    carrier = _Carrier(dict(options), images, device)
    carrier.run()
    named = base_model or carrier.base_model
    if not named:
        raise InvalidInput(f"{source} names no base model.", "Say which checkpoint to train on.")
    settings = carrier.valid_settings()
    request = TrainingRequest(
        dataset=dataset,
        base_model=named,
        family=carrier.family,
        settings=settings,
        kohya=carrier.kohya,
    )
    return Imported(
        request, source, tuple(sorted(carrier.carried)), tuple(carrier.left), tuple(carrier.notes)
    )


class _Carrier:
    """One import in progress."""

    def __init__(self, options: dict[str, Any], images: int | None, device: Device | None):
        self.options = {name: as_meant(value) for name, value in options.items()}
        self.images = images
        self.device = device
        self.family = "auto"
        self.base_model = ""
        self.settings: dict[str, Any] = {}
        self.kohya: dict[str, Any] = {}
        self.carried: set[str] = set()
        self.left: list[Left] = []
        self.notes: list[str] = []

    def run(self) -> None:
        for name in list(self.options):
            if why := misfit(name, self.options[name]):
                self._leave(name, why)
        for take in (
            self._names,
            self._rates,
            self._optimiser,
            self._schedule,
            self._network,
            self._sizes,
            self._modes,
            self._precision,
        ):
            take()
        self._steps()
        for name in list(self.options):
            self._rest(name)
        self._fit_together()

    def valid_settings(self) -> dict[str, Any]:
        """The settings, without those that this program takes no such value for."""
        try:
            parse(TrainingSettings, self.settings, what="the imported settings")
        except InvalidInput as error:
            for problem in error.problems:
                name = problem.field.split(".")[0]
                if name in self.settings:
                    self.left.append(Left(name, self.settings.pop(name), problem.problem))
                    self.carried.discard(name)
            parse(TrainingSettings, self.settings, what="the imported settings")
        return self.settings

    def _take(self, name: str) -> Any:
        self.carried.add(name)
        return self.options.pop(name)

    def _leave(self, name: str, why: str) -> None:
        self.left.append(Left(name, self.options.pop(name), why))

    def _names(self) -> None:
        given = self.options.pop("family", None)
        by_version = {each.names.base_version: each.name for each in ARCHITECTURES.values() if each.kohya}
        self.family = by_version.get(given, given if given in ARCHITECTURES else "auto")
        if given and self.family == "auto":
            self.left.append(Left("family", given, "there is no model family of that name here."))
        path = self.options.pop("pretrained_model_name_or_path", "")
        if path:
            self.base_model = str(path).replace("\\", "/").rstrip("/").split("/")[-1]
            self.notes.append(f"The base model was {self.base_model!r}; it is looked for by that name.")

    def _rates(self) -> None:
        rate = self.options.pop("learning_rate", None)
        unet = self.options.pop("unet_lr", None) or rate
        if unet:
            self.settings["unet_lr"] = float(unet)
            self.carried.add("unet_lr")
        encoder = self.options.pop("text_encoder_lr", None)
        if isinstance(encoder, list):
            if len(set(encoder)) > 1:
                self.notes.append(f"text_encoder_lr had {len(encoder)} rates; the first is taken for all.")
            encoder = encoder[0] if encoder else None
        unet_only = self.options.pop("network_train_unet_only", None)
        if encoder is not None or unet_only is not None:
            self.settings["network_train_unet_only"] = bool(unet_only) or encoder in (0, 0.0)
            self.carried.add("network_train_unet_only")
        if encoder:
            self.settings["text_encoder_lr"] = float(encoder)
            self.carried.add("text_encoder_lr")

    def _optimiser(self) -> None:
        if self.options.pop("use_8bit_adam", False):
            self.options["optimizer_type"] = "AdamW8bit"
        if self.options.pop("use_lion_optimizer", False):
            self.options["optimizer_type"] = "Lion"
        named = self.options.get("optimizer_type")
        if named:
            known = OPTIMISERS.get(str(named).lower())
            (self.settings if known else self.kohya)["optimizer_type"] = (
                known or self.options["optimizer_type"]
            )
            self._take("optimizer_type")
        pairs = self.options.pop("optimizer_args", None)
        if pairs:
            self.settings["optimizer_args"] = dict(_pair(each) for each in pairs)
            self.carried.add("optimizer_args")

    def _schedule(self) -> None:
        named = self.options.get("lr_scheduler")
        if named:
            (self.settings if named in SCHEDULERS else self.kohya)["lr_scheduler"] = self._take(
                "lr_scheduler"
            )
        if self.options.get("lr_warmup_steps") is not None:
            self.settings["lr_warmup_steps"] = float(self._take("lr_warmup_steps"))

    def _network(self) -> None:
        module = self.options.pop("network_module", "networks.lora")
        if module not in {each.kohya.network_module for each in ARCHITECTURES.values() if each.kohya}:
            self.kohya["network_module"] = module
            self.carried.add("network_module")
        arguments = []
        for each in self.options.pop("network_args", None) or []:
            name, value = _pair(each)
            if name in ("conv_dim", "conv_alpha"):
                self.settings[name] = value
                self.carried.add(name)
            else:
                arguments.append(each)
        if arguments:
            self.kohya["network_args"] = arguments
            self.carried.add("network_args")

    def _sizes(self) -> None:
        given = self.options.get("resolution")
        if given is None:
            return
        sides = [int(each) for each in (given if isinstance(given, list) else sides_in(given)) if each]
        self._take("resolution")
        side = round(math.prod(sides) ** (1 / len(sides)) / 64) * 64 if len(set(sides)) > 1 else sides[0]
        if len(set(sides)) > 1:
            self.notes.append(
                f"resolution {given} became {side}, the square of about the same area; buckets keep the shapes."
            )
        self.settings["resolution"] = side
        self.settings.setdefault("min_bucket_reso", min(256, side))
        self.settings.setdefault("max_bucket_reso", max(1024, side))

    def _modes(self) -> None:
        for name in ("xformers", "sdpa", "mem_eff_attn"):
            if self.options.pop(name, False):
                self.carried.add(name)
                if name == "mem_eff_attn":
                    self.notes.append("mem_eff_attn became attention: sdpa, which does the same faster.")
                self.settings["attention"] = "xformers" if name == "xformers" else "sdpa"
        if "v_parameterization" in self.options:
            self.settings["prediction_type"] = (
                "v_prediction" if self._take("v_parameterization") else "epsilon"
            )
        if self.options.get("max_token_length") is None:
            self.options.pop("max_token_length", None)
        if "dataset_repeats" in self.options:
            self.options["num_repeats"] = self.options.pop("dataset_repeats")

    def _precision(self) -> None:
        """A format that the device computes well is kept, another one or none becomes auto; either is told."""
        named = self.options.get("mixed_precision")
        if named in (None, "", False):
            self.options.pop("mixed_precision", None)
            self.notes.append("No mixed_precision is named: it is auto, what the device computes best.")
            return
        if self.device is None or named not in (BF16, FP16):
            return
        known = settled(self.device)
        if named in known.impossible or named in known.slower:
            self._take("mixed_precision")
            self.notes.append(f"mixed_precision {named} became auto, which is {usual(self.device).reason}.")
        else:
            self.notes.append(f"mixed_precision {named} is kept: this device computes it.")

    def _steps(self) -> None:
        epochs = self.options.pop("max_train_epochs", None)
        if not epochs:
            return
        if self.images is None:
            self.left.append(
                Left(
                    "max_train_epochs", epochs, "epochs are steps only once the number of pictures is known."
                )
            )
            return
        batch = int(self.options.get("train_batch_size") or 1) * int(
            self.options.get("gradient_accumulation_steps") or 1
        )
        repeats = int(self.options.get("num_repeats") or 1)
        steps = int(epochs) * math.ceil(self.images * repeats / batch)
        self.options["max_train_steps"] = steps
        self.notes.append(f"{epochs} epochs over {self.images} pictures became {steps} steps.")

    def _rest(self, name: str) -> None:
        value = self.options[name]
        if value in (None, "", []):
            self.options.pop(name)
        elif is_secret(name):
            self.options[name] = LEFT_OUT
            self._leave(name, f"it {A_SECRET}")
        elif name in REFUSED:
            self._leave(name, f"it {REFUSED[name]}")
        elif name in OF_ONE_RUN:
            self._leave(name, "it is about saving, sampling or the machine; the preset's own way is kept.")
        elif name in ("base_weights", "base_weights_multiplier"):
            self._leave(
                name, "it is a list of files there; name the training adapter in settings.base_weights."
            )
        elif name in SETTINGS:
            self.settings[name] = self._take(name)
        elif value is False or value == 0 or UPSTREAM_DEFAULTS.get(name) == value:
            self.options.pop(name)  # off is where everything stands that is not named
        elif _has_path(value):
            self._leave(name, "it names a path.")
        elif not name.isidentifier() or not name.islower():
            self._leave(name, "it is no option of sd-scripts.")
        else:
            self.kohya[name] = self._take(name)

    def _fit_together(self) -> None:
        """Caches that the other options rule out are switched off; upstream's files leave that to its own defaults."""
        changing = self.settings.get("shuffle_caption") or self.settings.get("caption_tag_dropout_rate")
        if self.settings.get("network_train_unet_only") is False or changing:
            self.settings["cache_text_encoder_outputs"] = False
        if self.kohya.get("color_aug") or self.kohya.get("random_crop"):
            self.settings["cache_latents"] = False


def _pair(text: Any) -> tuple[str, Any]:
    name, _, value = str(text).partition("=")
    try:
        read = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        read = value
    return name, list(read) if isinstance(read, tuple) else read


def _has_path(value: Any) -> bool:
    texts = value if isinstance(value, list) else [value]
    return any(isinstance(each, str) and ("/" in each or "\\" in each) for each in texts)
