"""Training again: a run's plan as the request that would make it, and what to change after a failure.

In: a plan and the code of what went wrong. Out: a request, and a `Suggestion` of safer numbers where one is known. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .families import family
from .plan import TrainingPlan, TrainingRequest
from .presets import preset_settings
from .settings import TrainingSettings


@dataclass(frozen=True)
class Suggestion:
    """Settings that a run is likelier to survive with; `why` is one sentence for a person."""

    code: str
    title: str
    why: str
    settings: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"code": self.code, "title": self.title, "why": self.why, "settings": self.settings}


def request_of(plan: TrainingPlan, settings: Mapping[str, Any] | None = None) -> TrainingRequest:
    """The request that leads to `plan`, with `settings` on top. All numbers are spelled out: presets may change."""
    return TrainingRequest(
        dataset=plan.dataset.slug,
        base_model=plan.base_model.name,
        family=plan.base_model.family,
        character=plan.character,
        preset=plan.preset or "standard",
        engine=plan.engine,
        settings={**plan.settings.model_dump(mode="json"), **(settings or {})},
        kohya=plan.kohya,
    )


def choices_of(plan: TrainingPlan) -> TrainingRequest:
    """The same, but with only those numbers that the preset would not give: what a person would set on the node."""
    usual = preset_settings(
        plan.preset or "standard", family(plan.base_model.family), images=plan.dataset.images
    )
    usual = {**TrainingSettings().model_dump(mode="json"), **usual}
    chosen = {
        name: value
        for name, value in plan.settings.model_dump(mode="json").items()
        if name == "seed" or usual.get(name) != value
    }
    return request_of(plan).model_copy(update={"settings": chosen})


def suggest(plan: TrainingPlan, code: str) -> Suggestion | None:
    """Safer numbers for this plan after a failure or notice with that code, or None where none is known.

    Codes are those of `engines/failures.py`.
    """
    maker = MAKERS.get(code)
    found = maker(plan.settings) if maker else None
    if found is None:
        return None
    title, why, wanted = found
    now = plan.settings.model_dump(mode="json")
    changed = {name: value for name, value in wanted.items() if now[name] != value}
    return Suggestion(code, title, why, changed) if changed else None


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
        "mixed_precision": "bf16" if now.mixed_precision == "fp16" else now.mixed_precision,
    }
    return "Retry with half the learning rate", "Smaller steps keep the numbers finite.", changes


def _other_precision(now: TrainingSettings) -> _Words | None:
    wanted = "fp16" if now.mixed_precision == "bf16" else "no"
    return (
        f"Retry with {'fp16' if wanted == 'fp16' else 'full precision'}",
        "This GPU can compute it.",
        {"mixed_precision": wanted},
    )


def _plain_attention(now: TrainingSettings) -> _Words | None:
    return "Retry with PyTorch's attention", "It needs no further package.", {"attention": "sdpa"}


MAKERS: dict[str, Callable[[TrainingSettings], _Words | None]] = {
    "out_of_memory": _less_memory,
    "not_finite": _gentler,
    "precision_unsupported": _other_precision,
    "xformers": _plain_attention,
}
