"""What a training will take, told before it starts: memory beside what the card has, and seconds beside a rate that somebody knows.

In: a plan, what lies in the base model's file, the device, and the workspace's log of former runs. Out: a `Forecast`, which says of
itself that it is an estimate. How much a family costs stands in `architectures`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..architectures import architecture
from ..architectures.base import Architecture
from ..counted import counted
from ..device.description import CPU, Device
from ..device.precision import NO
from ..device.rates import data_sheet_tflops
from ..engines.contract import Problem
from ..errors import BridgeError
from ..models.stored_weights import StoredWeights
from ..plan import TrainingPlan
from ..settings import TrainingSettings

GIB = 2**30
_BYTES_PER_WEIGHT_OF_LORA = 16  # fp32 master, gradient and two moments
_BYTES_IN_FILE = 2
_CONTEXT_GIB = 0.8  # CUDA's own memory and the workspaces of its libraries
MUCH_SMALLER = 0.35  # four-bit weights in bytes count as half
"""A base with less than this part of its family's weights is taken for a smaller one, and all its costs shrink with it."""
SHARE_OF_DATA_SHEET = 1 / 3
"""What a training reaches of a card's promised rate. Large models in large batches reach 0.4 to 0.5 (PaLM, section 4.1); a LoRA's single
pictures less. A guess until a run has been measured."""


@dataclass(frozen=True)
class Forecast:
    """An estimate."""

    training_gib: float
    """Memory from the first step on."""
    encoding_gib: float
    """Memory while pictures and captions are encoded, before the model is loaded."""
    card_gib: float | None
    """What the device has of its own."""
    tflop: float
    """10^12 floating point operations of one step."""
    steps: int
    seconds_per_step: float | None
    """None where nobody knows how fast the device is."""
    rate_from: str
    """Whose rate that is, as the end of a sentence; or why there is none, as a sentence."""

    @property
    def memory_gib(self) -> float:
        return max(self.training_gib, self.encoding_gib)

    def sentence(self) -> str:
        """The estimate in words."""
        of = f" of {self.card_gib:.0f}" if self.card_gib else ""
        memory = f"about {_short(self.training_gib)}{of} GiB while it trains"
        if self.encoding_gib > self.training_gib:
            memory += f" ({_short(self.encoding_gib)} while captions are encoded)"
        if self.seconds_per_step is None:
            return f"Estimate: {memory}; {self.tflop:.3g} TFLOP a step. {self.rate_from}"
        whole = _duration(self.seconds_per_step * self.steps)
        return f"Estimate: {memory}; about {_short(self.seconds_per_step)} s a step, {whole} for {counted(self.steps, 'step')}, {self.rate_from}."


def forecast(
    plan: TrainingPlan,
    stored: StoredWeights | None,
    device: Device,
    former: Iterable[Mapping[str, Any]] = (),
) -> Forecast:
    """`stored`: what lies in the base model's file, None for a model as large as its family's. `former`: lines of the workspace's experiment log, oldest first."""
    settings, of = plan.settings, architecture(plan.base_model.family)
    weights, size = _weights(of, stored, settings)
    costs, area = of.estimates, (settings.resolution / of.resolution) ** 2
    wide = 2.0 if settings.mixed_precision == NO else 1.0
    kept = costs.checkpointed_gib if settings.gradient_checkpointing else costs.activations_gib
    pictures = settings.train_batch_size * (2 if settings.diff_output_preservation_multiplier else 1)
    lora = costs.lora_mb_per_rank * 1e6 / _BYTES_IN_FILE * settings.network_dim * _BYTES_PER_WEIGHT_OF_LORA
    training = weights + size * (kept * wide * area * pictures + lora / GIB) + _CONTEXT_GIB
    tflop = size * step_tflop(settings, of)
    seconds, rate_from = _seconds(plan, tflop, device, former)
    return Forecast(
        training_gib=training,
        encoding_gib=size * costs.encoders_gib + _CONTEXT_GIB,
        card_gib=device.memory_gib,
        tflop=tflop,
        steps=settings.max_train_steps,
        seconds_per_step=seconds,
        rate_from=rate_from,
    )


def step_tflop(settings: TrainingSettings, of: Architecture) -> float:
    """10^12 floating point operations of one step of a full-size model.

    Frozen weights have no gradient, so a backward pass costs what a forward pass does; recomputed blocks cost one more. Preservation
    lets the base model answer as well, and doubles the pictures, in the steps that have it.
    """
    passes = 3.0 if settings.gradient_checkpointing else 2.0
    if settings.diff_output_preservation_multiplier:
        passes += (passes + 1) / max(1, settings.diff_output_preservation_every_n_steps)
    pictures = settings.train_batch_size * settings.gradient_accumulation_steps
    return of.estimates.forward_tflop * (settings.resolution / of.resolution) ** 2 * passes * pictures


def memory_problems(told: Forecast, plan: TrainingPlan) -> list[Problem]:
    """Advice where the estimate is above what the card has."""
    if told.card_gib is None or told.memory_gib <= told.card_gib:
        return []
    problem = f"The training may need about {told.memory_gib:.0f} GiB of GPU memory; the card has {told.card_gib:.0f} GiB."
    return [Problem("vram", problem, _less_memory(told, plan), blocks=False)]


def _less_memory(told: Forecast, plan: TrainingPlan) -> str:
    """What would help, of what is not done yet."""
    settings, of = plan.settings, architecture(plan.base_model.family)
    if told.encoding_gib > (told.card_gib or 0) >= told.training_gib:
        return "It is the text encoder: choose a smaller format of it (fp8) in Kohya Model Files."
    ways = [] if settings.gradient_checkpointing else ["gradient_checkpointing"]
    ways += ["train_batch_size 1"] if settings.train_batch_size > 1 else []
    ways += ["the low_memory preset"] if plan.preset != "low_memory" else []
    ways += ["a smaller resolution"]
    ways += ["an fp8 file of the model"] if of.trainable == "host" else []
    return f"Use {', '.join(ways[:-1])} or {ways[-1]}." if len(ways) > 1 else f"Use {ways[0]}."


def _weights(
    of: Architecture, found: StoredWeights | None, settings: TrainingSettings
) -> tuple[float, float]:
    """GiB of the model as it will lie in memory, and how large it is beside its family's (1: as large)."""
    wide = 2.0 if settings.mixed_precision == NO else 1.0
    usual = of.estimates.weights_gib
    if found is None:
        return usual * wide, 1.0
    size = found.numbers * 2 / GIB / usual
    small = (
        of.trainable == "host" and found.small_bytes
    )  # one and four bits stay what they are; diffusers' models are cast
    stored = (found.small_bytes if small else 0) + (
        found.numbers - (found.small_numbers if small else 0)
    ) * 2 * wide
    return stored / GIB, size if size < MUCH_SMALLER or of.untried else 1.0


def _seconds(
    plan: TrainingPlan, tflop: float, device: Device, former: Iterable[Mapping[str, Any]]
) -> tuple[float | None, str]:
    """Of a step: from the newest run that trained this base model on this device, else from the card's data sheet."""
    for line in reversed(list(former)):
        took = _measured(line, plan, device)
        if took is not None:
            return took, f"as fast as run {line['run_id']} was on this device"
    promised = data_sheet_tflops(device, plan.settings.mixed_precision)
    if promised is None:
        return (
            None,
            "How long one takes here is known once a run with this base model has trained on this device.",
        )
    how = f"at a third of what {device.name} does by its data sheet"
    return tflop / (promised * SHARE_OF_DATA_SHEET), how


def _measured(line: Mapping[str, Any], plan: TrainingPlan, device: Device) -> float | None:
    """Seconds of a step by a former run's, None where it is no measure for this one. The log may be of any version, and anybody's."""
    try:
        settings = TrainingSettings.model_validate(line["settings"])
        environment, of = line["environment"], architecture(line["base_model"]["family"])
        took = float(line["seconds_per_step"])
        same = (
            line["base_model"]["sha256"] == plan.base_model.sha256
            and line["engine"] == plan.engine
            and settings.mixed_precision == plan.settings.mixed_precision
            and _device_of(environment) == (device.name if device.is_gpu else CPU)
        )
        return took * step_tflop(plan.settings, of) / step_tflop(settings, of) if same and took > 0 else None
    except (LookupError, TypeError, ValueError, BridgeError):
        return None


def _device_of(environment: Mapping[str, Any]) -> str:
    """By name as either engine writes it; a processor by its kind."""
    return str(environment.get("gpu") or next(iter(environment.get("devices") or ()), environment["device"]))


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return "under a minute"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
