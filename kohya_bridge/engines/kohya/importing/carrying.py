"""Carrying foreign options over into a request, one by one, with a reason for each that is changed, filled in or left behind.

In: sd-scripts options with values as people's files hold them (numbers as text, `"True"`, lists). Out: an `Imported`. What a setting of the
plan means goes to the settings, what only sd-scripts knows to the kohya section, and what the file leaves out is what its
origin does then. Every value keeps its meaning: what the origin reads as off, unlimited or derived stays that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ....architectures import ARCHITECTURES
from ....counted import counted
from ....device.description import Device
from ....device.precision import BF16, FP16, settled, usual
from ....errors import InvalidInput
from ....forbidding import parse
from ....plan import TrainingRequest
from ....redaction import LEFT_OUT, secrets_below
from ....settings import TrainingSettings
from ..checking import A_SECRET
from .filling import fill_in
from .fitting import fit_together
from .imported import Fate, Imported, Row
from .left_behind import OF_THE_CARD, why_left
from .origin import Reader, defaults_of, options_of, script_of
from .values import as_meant, misfit, pair, sides_in, words_of

SETTINGS = TrainingSettings.model_fields
OPTIMISERS = {name.lower(): name for name in SETTINGS["optimizer_type"].annotation.__args__}  # type: ignore[union-attr]
MOST_RANK = 512
SCHEDULERS = SETTINGS["lr_scheduler"].annotation.__args__  # type: ignore[union-attr]


def carry(
    options: dict[str, Any],
    *,
    dataset: str,
    base_model: str = "",
    images: int | None = None,
    source: str = "the file",
    device: Device | None = None,
    reader: Reader = "sd-scripts",
    left: Sequence[tuple[str, Any, str]] = (),
) -> Imported:
    """The request that these options amount to; see `import_config`. `left` is what was left behind on the way to them."""
    carrier = Carrier(dict(options), reader, images, device)
    for name, value, why in left:
        carrier.tell(name, value, None, why, "left")
    carrier.run()
    named = base_model or carrier.base_model
    if not named:
        raise InvalidInput(f"{source} names no base model.", "Say which checkpoint to train on.")
    request = TrainingRequest(
        dataset=dataset,
        base_model=named,
        family=carrier.family,
        settings=carrier.valid_settings(),
        kohya=carrier.kohya,
    )
    return Imported(request, source, tuple(carrier.rows), tuple(carrier.notes))


class Carrier:
    """One import in progress."""

    def __init__(self, options: dict[str, Any], reader: Reader, images: int | None, device: Device | None):
        self.options = {name: as_meant(value) for name, value in options.items()}
        self.named = dict(self.options)  # as the file has them, for what depends on another option
        self.reader, self.images, self.device = reader, images, device
        self.family = "auto"
        self.base_model = ""
        self.settings: dict[str, Any] = {}
        self.kohya: dict[str, Any] = {}
        self.rows: list[Row] = []
        self.notes: list[str] = []

    def run(self) -> None:
        for name in list(self.options):
            if any(secrets_below({name: self.options[name]})):
                self.options[name] = self.named[name] = LEFT_OUT
                self.leave(name, f"it {A_SECRET}")
            elif why := misfit(name, self.options[name]):
                self.leave(name, why)
        for take in (
            self._names, self._parts, self._rates, self._optimiser, self._schedule, self._network, self._sizes, self._modes, self._captions,
            self._precision, self._times, self._steps,
        ):  # fmt: skip
            take()
        for name in list(self.options):
            self._rest(name)
        self._of_the_card()
        fill_in(self)
        fit_together(self)

    def valid_settings(self) -> dict[str, Any]:
        """The settings, without those that this program takes no such value for."""
        try:
            parse(TrainingSettings, self.settings, what="the imported settings")
        except InvalidInput as error:
            defaults = defaults_of(self.reader)
            for problem in error.problems:
                name = problem.field.split(".")[0]
                if name not in self.settings:
                    continue
                value = self.settings.pop(name)
                self.rows = [row for row in self.rows if row.name != name or row.fate == "left"]
                self.tell(name, value, None, problem.problem, "left")
                if name in defaults:
                    self.settings[name] = defaults[name]
            parse(TrainingSettings, self.settings, what="the imported settings")
        return self.settings

    # --- what becomes of one option ---------------------------------------------------------------------------------

    def tell(self, name: str, theirs: Any, ours: Any, why: str, fate: Fate) -> None:
        self.rows.append(Row(name, theirs, ours, why, fate))

    def leave(self, name: str, why: str) -> None:
        self.tell(name, self.options.pop(name), None, why, "left")

    def keep(self, name: str, theirs: Any, ours: Any, why: str = "") -> None:
        """Make a setting of it; without a reason it is carried as it is."""
        self.settings[name] = ours
        self.tell(name, theirs, ours, why, "changed" if why else "carried")

    def hand_on(self, name: str, value: Any) -> None:
        """Put it into the kohya section."""
        self.kohya[name] = value
        self.tell(name, value, value, "", "carried")

    def pop(self, name: str) -> Any:
        """The option's value, gone from those to be looked at; None where it is not named."""
        return self.options.pop(name, None)

    def _arguments(self, name: str) -> list[str]:
        """The `name=value` words of a list of arguments; what is none is left behind."""
        words = words_of(self.pop(name) or [])
        for word in words:
            if "=" not in word:
                self.tell(name, word, None, "it is not of the form `name=value`.", "left")
        return [word for word in words if "=" in word]

    # --- groups of options that belong together ---------------------------------------------------------------------

    def _names(self) -> None:
        given = self.pop("family")
        by_version = {each.names.base_version: each.name for each in ARCHITECTURES.values() if each.kohya}
        self.family = by_version.get(given, given if given in ARCHITECTURES else "auto")
        if given and self.family == "auto":
            self.tell("family", given, None, "there is no model family of that name here.", "left")
        path = self.pop("pretrained_model_name_or_path")
        if path:
            self.base_model = str(path).replace("\\", "/").rstrip("/").split("/")[-1]
            self.notes.append(f"The base model was {self.base_model!r}; it is looked for by that name.")

    def _parts(self) -> None:
        """Whether the text encoders are trained: not with their outputs cached, at a rate of 0, or where sd-scripts trains none."""
        told = self.pop("network_train_unet_only")
        encoder = self.options.get("text_encoder_lr")
        of_family = ARCHITECTURES.get(self.family)
        reasons = {
            "text_encoder_lr is 0.": encoder in (0, 0.0) or (isinstance(encoder, list) and encoder and not any(encoder)),
            "their outputs are cached, so they are not trained there either.": bool(self.options.get("cache_text_encoder_outputs")),
            "this family's text encoders are not trained.": of_family is not None and not of_family.text_encoder_prefixes,
        }  # fmt: skip
        why = next((reason for reason, holds in reasons.items() if holds), "")
        if told:
            self.keep("network_train_unet_only", told, True)
        elif why:
            self.keep("network_train_unet_only", told, True, why)
        elif told is False or encoder is not None:
            self.keep("network_train_unet_only", told, False)

    def _rates(self) -> None:
        rate = self.pop("learning_rate")
        unet, encoder = self.pop("unet_lr"), self.pop("text_encoder_lr")
        if unet == 0:
            self.kohya["network_train_text_encoder_only"] = True
            self.tell("unet_lr", unet, None, "0 leaves the U-Net alone: network_train_text_encoder_only says that.", "left")  # fmt: skip
        if unet or rate:
            self.keep("unet_lr", unet or rate, float(unet or rate))
        if isinstance(encoder, list):
            known = [each for each in encoder if each]
            if len(set(known)) > 1:
                self.notes.append(
                    f"text_encoder_lr had {counted(len(known), 'rate')}; the first is taken for all."
                )
            encoder = known[0] if known else None
        if encoder:
            self.keep("text_encoder_lr", encoder, float(encoder))
        elif self.settings.get("unet_lr") and encoder is None:
            self.settings["text_encoder_lr"] = float(rate or defaults_of(self.reader)["unet_lr"])

    def _optimiser(self) -> None:
        if self.pop("use_8bit_adam"):
            self.options["optimizer_type"] = "AdamW8bit"
        if self.pop("use_lion_optimizer"):
            self.options["optimizer_type"] = "Lion"
        named = self.pop("optimizer_type")
        known = OPTIMISERS.get(str(named).lower())
        if known:
            self.keep("optimizer_type", named, known)
        elif named:
            self.hand_on("optimizer_type", named)
        pairs = dict(pair(each) for each in self._arguments("optimizer_args"))
        if known == "Adafactor" and pairs.get("relative_step", True) is True:
            why = "Adafactor would find its own rate there; here unet_lr and the schedule count."
            self.tell(
                "optimizer_args: relative_step", pairs.get("relative_step", True), False, why, "changed"
            )
            pairs |= {"relative_step": False, "warmup_init": False}
        if pairs:
            self.keep("optimizer_args", pairs, pairs)

    def _schedule(self) -> None:
        named = self.pop("lr_scheduler")
        if named == "adafactor" and self.settings.get("optimizer_type") == "Adafactor":
            self.keep(
                "lr_scheduler", named, "constant", "it only shows the rate that Adafactor finds by itself."
            )
        elif named in SCHEDULERS:
            self.keep("lr_scheduler", named, named)
        elif named:
            self.hand_on("lr_scheduler", named)
        warmup = self.pop("lr_warmup_steps")
        shape = self.settings.get("lr_scheduler") or defaults_of(self.reader)["lr_scheduler"]
        if warmup and shape == "constant" and "lr_scheduler" not in self.kohya:
            self.keep("lr_warmup_steps", warmup, 0.0, "the schedule constant has no warm-up.")
        elif warmup is not None:
            self.keep("lr_warmup_steps", warmup, float(warmup))

    def _network(self) -> None:
        module = self.pop("network_module") or "networks.lora"
        is_own = module in {each.kohya.network_module for each in ARCHITECTURES.values() if each.kohya}
        if not is_own:
            self.hand_on("network_module", module)
        arguments = self._arguments("network_args")
        pairs = dict(pair(each) for each in arguments)
        if is_own:
            self._convolutions(pairs)
            arguments = [each for each in arguments if pair(each)[0] not in ("conv_dim", "conv_alpha")]
        if arguments:
            self.hand_on("network_args", arguments)
        self._rank(is_lokr="algo=lokr" in arguments)

    def _rank(self, *, is_lokr: bool) -> None:
        """Alpha 0 means the rank. A rank above that of every matrix: LoKr takes whole matrices then, which it can also be told; else alpha
        shrinks along with it, so that the scale stays."""
        rank = self.options.get("network_dim") or defaults_of(self.reader)["network_dim"]
        alpha = self.options.get("network_alpha")
        if alpha == 0:
            self.keep(
                "network_alpha",
                self.pop("network_alpha"),
                float(min(rank, MOST_RANK)),
                "0 means the rank there.",
            )
        if rank <= MOST_RANK:
            return
        self.pop("network_dim")
        if is_lokr:
            self.kohya["network_args"] = [*self.kohya["network_args"], "full_matrix=True"]
            self.keep(
                "network_dim",
                rank,
                MOST_RANK,
                "the rank is at most 512 here; full_matrix says what so high a rank means.",
            )
        else:
            self.keep("network_dim", rank, MOST_RANK, "the rank is at most 512 here.")
        if alpha and not is_lokr:
            self.keep(
                "network_alpha", self.pop("network_alpha"), alpha * MOST_RANK / rank, "alpha by rank stays."
            )

    def _convolutions(self, pairs: dict[str, Any]) -> None:
        rank = pairs.get("conv_dim")
        if not rank:
            return
        self.keep("conv_dim", rank, rank)
        alpha = pairs.get("conv_alpha", 1.0)
        if alpha == 0:
            self.keep("conv_alpha", alpha, float(rank), "0 means the rank there.")
        else:
            self.keep("conv_alpha", alpha, alpha)

    def _sizes(self) -> None:
        given = self.pop("resolution")
        sides = [int(each) for each in (given if isinstance(given, list) else sides_in(given or "")) if each]
        if not sides:
            return
        side = round(math.prod(sides) ** (1 / len(sides)) / 64) * 64 if len(set(sides)) > 1 else sides[0]
        square = "the square of about the same area; buckets keep the shapes." if len(set(sides)) > 1 else ""
        self.keep("resolution", given, side, square)

    def _modes(self) -> None:
        for name in ("xformers", "sdpa", "mem_eff_attn"):
            if self.pop(name):
                same = "sdpa does the same faster." if name == "mem_eff_attn" else ""
                self.keep("attention", name, "xformers" if name == "xformers" else "sdpa", same)
        velocity = self.pop("v_parameterization")
        if velocity is not None:
            self.keep("prediction_type", velocity, "v_prediction" if velocity else "epsilon")

    def _captions(self) -> None:
        for name, default in (("clip_skip", 1), ("max_token_length", 75), ("max_timestep", 1000)):
            if name in self.options and not self.options[name]:
                self.keep(name, self.pop(name), default, "it is off there.")
        if "dataset_repeats" in self.options:
            self.options["num_repeats"] = self.pop("dataset_repeats")

    def _precision(self) -> None:
        """A format that the device computes well is kept, another one or none becomes auto; either is told."""
        named = self.pop("mixed_precision")
        if not named:
            self.notes.append("No mixed_precision is named: it is auto, what the device computes best.")
        elif named == "no":
            self.keep("mixed_precision", named, "no")
        elif named not in (BF16, FP16):
            self.keep("mixed_precision", named, "auto", f"LoRAs are not trained in {named} here.")
        elif self.device is None:
            self.keep("mixed_precision", named, named)
        elif named in settled(self.device).impossible or named in settled(self.device).slower:
            why = f"mixed_precision {named} became auto, which is {usual(self.device).reason}."
            self.keep("mixed_precision", named, "auto", why)
            self.notes.append(why)
        else:
            self.keep("mixed_precision", named, named)
            self.notes.append(f"mixed_precision {named} is kept: this device computes it.")

    def _times(self) -> None:
        """Densities of a flow model's times that this program has no word for are sd-scripts' own."""
        for name in ("timestep_sampling", "weighting_scheme"):
            value = self.options.get(name)
            if name == "weighting_scheme" and value == "uniform":
                self.keep(name, self.pop(name), "none", "it weighs all times alike.")
            elif (
                value is not None
                and value not in SETTINGS[name].annotation.__args__  # type: ignore[union-attr]
                and name in options_of(script_of(self.family))
            ):
                self.hand_on(name, self.pop(name))

    def _steps(self) -> None:
        epochs, of_gui = self.pop("max_train_epochs"), self.pop("gui_epochs")
        if epochs and "max_train_steps" in self.options:
            self.leave("max_train_steps", f"max_train_epochs {epochs} outranks it.")
        named = epochs or of_gui
        if not named:
            return
        if self.images is None:
            why = "epochs are steps only once the number of pictures is known; the preset's number of steps is taken."
            self.tell("max_train_epochs", named, None, why, "left")
            return
        batch, together = (int(self.options.get(name) or 1) for name in ("train_batch_size", "gradient_accumulation_steps"))  # fmt: skip
        pictures = self.images * int(self.options.get("num_repeats") or 1)
        steps = (
            int(epochs) * math.ceil(math.ceil(pictures / batch) / together)
            if epochs
            else math.ceil(pictures / batch / together * int(of_gui))
        )
        self.keep("max_train_steps", f"{named} epochs", max(1, steps), f"{named} epochs over {counted(self.images, 'picture')}.")  # fmt: skip

    # --- the others -------------------------------------------------------------------------------------------------

    def _rest(self, name: str) -> None:
        value = self.options[name]
        if value in (None, "", []):
            self.options.pop(name)
        elif why := why_left(name, value, self.named, self.family):
            self.leave(name, why)
        elif name in SETTINGS:
            self.keep(name, value, self.pop(name))
        elif name not in OF_THE_CARD:
            self.hand_on(name, self.pop(name))

    def _of_the_card(self) -> None:
        """What fits a model into a card goes along with other options of sd-scripts, and is no reason of its own to train there."""
        for name in [name for name in OF_THE_CARD if name in self.options]:
            if self.kohya:
                self.hand_on(name, self.pop(name))
            else:
                self.leave(
                    name,
                    "it saves memory and changes nothing that is trained; the native engine sees to that itself.",
                )

    def change(self, name: str, ours: Any, why: str) -> None:
        """Take another value of a setting than what was carried or filled in."""
        theirs = self.settings.get(name)
        self.rows = [row for row in self.rows if row.name != name or row.fate == "left"]
        self.keep(name, theirs, ours, why)
