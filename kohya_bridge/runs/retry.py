"""Training again: a run's plan as the request that would make it, and what to change after a failure.

In: a plan and the code of what went wrong. Out: a request, and a `Suggestion` of safer numbers where one is known. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from typing import Any

from ..architectures import architecture
from ..engine_names import takes_kohya_options
from ..engines.failures import NEEDS_LESS_MEMORY, safer_settings
from ..plan import TrainingPlan, TrainingRequest, request_of
from ..presets import PRESETS, preset_settings
from ..settings import TrainingSettings


@dataclass(frozen=True)
class Suggestion:
    """Settings that a run is likelier to survive with; `why` is one sentence for a person."""

    code: str
    title: str
    why: str
    settings: dict[str, Any] = field(default_factory=dict)
    kohya: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def changed_request(plan: TrainingPlan, change: Suggestion) -> TrainingRequest:
    """The request that leads to `plan`, with `change` on top."""
    request = request_of(plan)
    return request.model_copy(
        update={
            "settings": {**request.settings, **change.settings},
            "kohya": {**request.kohya, **change.kohya},
        }
    )


def choices_of(plan: TrainingPlan, *, automatic: Collection[str] = ()) -> TrainingRequest:
    """The request that leads to `plan`, with only those numbers that the preset would not give: what a person would set on the node.
    All of them where the preset is none that is known here.

    `automatic` names settings that were left to the machine, and are left to it again.
    """
    if plan.preset not in PRESETS:
        return request_of(plan)
    usual = preset_settings(plan.preset, architecture(plan.base_model.family), images=plan.dataset.images)
    usual = {**TrainingSettings().model_dump(mode="json"), **usual}
    chosen = {
        name: value
        for name, value in plan.settings.model_dump(mode="json").items()
        if name not in automatic and (name == "seed" or usual.get(name) != value)
    }
    return request_of(plan).model_copy(update={"settings": chosen})


def suggestions(plan: TrainingPlan, code: str) -> tuple[Suggestion, ...]:
    """Safer numbers for this plan after a failure or notice with that code; the one to take first stands first.

    For lack of memory the rungs of the memory ladder follow, each alone and with its price. Codes are those of
    `engines/causes.py` and `engines/failures.py`.
    """
    first = [
        _changed(plan, code, *found) for maker in MAKERS.get(code, ()) if (found := maker(plan.settings))
    ]
    rungs = safer_settings(plan.settings.model_dump(mode="json"), plan.base_model.family)
    ladder = [
        _changed(plan, code, f"Retry: {each.title[0].lower()}{each.title[1:]}", each.price, each.changes)
        for each in (rungs if code in NEEDS_LESS_MEMORY else ())
        if not any(name.startswith("kohya.") for name in each.changes) or takes_kohya_options(plan.engine)
    ]
    return tuple(each for each in [*first, *ladder] if each.settings or each.kohya)


def _changed(plan: TrainingPlan, code: str, title: str, why: str, wanted: dict[str, Any]) -> Suggestion:
    """A suggestion with only what differs from the plan; `kohya.` names go to the plan's kohya section."""
    now = plan.settings.model_dump(mode="json")
    kohya = {
        name.removeprefix("kohya."): value for name, value in wanted.items() if name.startswith("kohya.")
    }
    settings = {name: value for name, value in wanted.items() if name in now and now[name] != value}
    return Suggestion(code, title, why, settings, {k: v for k, v in kohya.items() if plan.kohya.get(k) != v})


_Words = tuple[str, str, dict[str, Any]]


def _less_memory(now: TrainingSettings) -> _Words | None:
    """First what costs only time, then what costs detail."""
    cheap: dict[str, Any] = {"train_batch_size": 1, "gradient_checkpointing": True, "cache_latents": True}
    if now.network_train_unet_only:
        cheap["cache_text_encoder_outputs"] = True
    if any(getattr(now, name) != value for name, value in cheap.items()):
        cheap["gradient_accumulation_steps"] = now.gradient_accumulation_steps * now.train_batch_size
        return (
            "Retry with less memory",
            "Same picture count a step, fewer at a time: slower, same result.",
            cheap,
        )
    smaller = max(256, now.resolution * 3 // 4 // 64 * 64)
    changes = {
        "resolution": smaller,
        "min_bucket_reso": min(now.min_bucket_reso, smaller),
        "network_dim": max(4, now.network_dim // 2),
        "network_alpha": max(1.0, now.network_alpha / 2),
    }
    return "Retry smaller", f"Pictures of {smaller} pixels and half the rank need much less memory.", changes


def _gentler(now: TrainingSettings) -> _Words | None:
    changes = {
        "unet_lr": now.unet_lr / 2,
        "text_encoder_lr": now.text_encoder_lr / 2,
        "max_grad_norm": now.max_grad_norm or 1.0,
        "mixed_precision": "auto" if now.mixed_precision == "fp16" else now.mixed_precision,
    }
    return "Retry with half the learning rate", "Smaller steps keep the numbers finite.", changes


def _own_precision(now: TrainingSettings) -> _Words | None:
    return (
        "Retry with this device's own precision",
        "mixed_precision auto takes what the device computes best.",
        {"mixed_precision": "auto"},
    )


def _full_precision(now: TrainingSettings) -> _Words | None:
    return (
        "Retry with full precision",
        "Every device can compute it; it needs more memory.",
        {"mixed_precision": "no"},
    )


def _full_vae(now: TrainingSettings) -> _Words | None:
    return (
        "Retry with the VAE in full precision",
        "It is used once for each picture.",
        {"kohya.no_half_vae": True},
    )


def _plain_attention(now: TrainingSettings) -> _Words | None:
    return "Retry with PyTorch's attention", "It needs no further package.", {"attention": "sdpa"}


MAKERS: dict[str, tuple[Callable[[TrainingSettings], _Words | None], ...]] = {
    "out_of_memory": (_less_memory,),
    "killed": (_less_memory,),
    "not_finite": (_gentler,),
    "precision_unsupported": (_own_precision, _full_precision),
    "half_vae": (_full_vae,),
    "xformers": (_plain_attention,),
}
