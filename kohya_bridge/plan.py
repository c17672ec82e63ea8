"""TrainingPlan: everything that a training run depends on, in sd-scripts' vocabulary, for every engine alike.

In: a `TrainingRequest` (what a person chose) with the facts of its dataset and base model. Out: a frozen, validated plan
whose digest is the run's id: the same plan is the same run. It holds no path of this machine, and starts nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import Field, field_validator

from .architectures import architecture
from .engine_names import AUTO, CHOICES, ENGINES
from .forbidding import Forbidding, parse, read_yaml
from .names import ModelName, OneLine, Sha256, Slug, Word
from .presets import preset_settings
from .redaction import ADVICE, secrets_below
from .settings import TrainingSettings


class DatasetFacts(Forbidding):
    """What a plan says of its dataset."""

    slug: Slug
    """Folder name below `kohya/datasets`."""
    digest: Sha256
    """SHA-256 over every picture and caption; see `dataset.py`."""
    images: Annotated[int, Field(ge=0, le=10_000_000)]
    """Number of pictures."""
    trigger: OneLine = ""
    """The plain token that stands in every caption."""


class BaseModelFacts(Forbidding):
    """What a plan says of its base model."""

    name: ModelName
    """File name as ComfyUI lists it; not part of the run's identity."""
    sha256: Sha256
    """SHA-256 of the file."""
    family: Word
    """A name of `architectures.ARCHITECTURES`."""


class ModelFileFacts(Forbidding):
    """What a plan says of a text encoder or VAE beside its base model."""

    name: ModelName
    """File name as ComfyUI lists it; not part of the run's identity."""
    sha256: Sha256
    """SHA-256 of the file."""


class TrainingRequest(Forbidding):
    """What a person chooses: in a YAML config, on the Kohya Train node, or on the command line."""

    also_called: ClassVar[dict[str, str]] = {
        **{
            name: f"settings.{name}"
            for name in (*TrainingSettings.model_fields, *TrainingSettings.also_called)
        },
        "model": "base_model",
        "checkpoint": "base_model",
        "name": "character",
    }
    """Names that belong one level deeper, and other words for these."""

    dataset: Slug
    """Dataset slug."""
    base_model: str
    """Checkpoint file name, as ComfyUI's checkpoint list shows it."""
    family: str = "auto"
    """`auto` reads it from the checkpoint."""
    character: Slug | Literal[""] = ""
    """Name of the LoRA's folder and files; the dataset's slug when empty."""
    trigger: str = ""
    """The plain token that stands in every caption; the dataset's own (`lora_tag`) when empty."""
    preset: str = "standard"
    """Named quality: draft, standard, careful, low_memory."""
    engine: str = AUTO
    """Who trains: `auto`, or an engine's name."""
    settings: dict[str, Any] = {}
    """Values of `TrainingSettings` that replace the preset's."""
    model_files: dict[str, str] = {}
    """Text encoders and VAE beside the base model, by their names in `architectures`: file names as ComfyUI lists them. What is
    left out is found where exactly one file fits."""
    kohya: dict[str, Any] = {}
    """Further options of the sd-scripts parser, for the kohya engine only."""

    @field_validator("engine")
    @classmethod
    def _chosen(cls, value: str) -> str:
        return _one_of(CHOICES, value)

    @field_validator("*", mode="before")
    @classmethod
    def _holds_no_secret(cls, value: Any) -> Any:
        """What is chosen ends in `plan.yaml`, which is copied and read; a secret stays in the environment, where a resume finds it too."""
        found = list(dict.fromkeys(secrets_below(value)))
        if found:
            where = ", ".join(filter(None, found))
            raise ValueError(f"there is a secret in it{where and f': {where}'} | {ADVICE}")
        return value


def _one_of(names: tuple[str, ...], value: str) -> str:
    if value not in names:
        raise ValueError(f"there is no engine of that name. | Choose {', '.join(names)}.")
    return value


LATER_SETTINGS = {
    "diff_output_preservation_multiplier": 0.0,
    "diff_output_preservation_every_n_steps": 1,
    "timestep_sampling": "auto",
    "discrete_flow_shift": 0.0,
    "weighting_scheme": "none",
    "logit_mean": 0.0,
    "logit_std": 1.0,
    "sigmoid_scale": 1.0,
    "mode_scale": 1.29,
    "base_weights": "",
    "base_weights_multiplier": 1.0,
}
"""Settings that came after plans were first written, and their value when off: then they're no part of the identity, so that a
run planned before keeps its id."""
FORMER_DEFAULTS = {"mixed_precision": "bf16"}
"""What settings meant that an old plan does not name, where the default has changed since."""


OBJECTIVE_OF_FLOW = (
    "timestep_sampling", "discrete_flow_shift", "weighting_scheme", "logit_mean", "logit_std", "sigmoid_scale", "mode_scale",
)  # fmt: skip
"""Settings that mean something for flow models only."""


def chosen_later_settings(settings: TrainingSettings, names: Iterable[str]) -> list[str]:
    """Those of `names`, all of them later settings, that are not off."""
    return [name for name in names if getattr(settings, name) != LATER_SETTINGS[name]]


class TrainingPlan(Forbidding):
    """One training, complete. Frozen and content-addressed; written to `plan.yaml` of the run folder."""

    version: Literal[1] = 1
    """Format of this file."""
    character: Slug
    """Name of the LoRA's folder and files."""
    dataset: DatasetFacts
    """Which pictures and captions."""
    base_model: BaseModelFacts
    """Which checkpoint."""
    engine: str
    """Who trains."""
    engine_version: Word
    """The native engine's number, or the sd-scripts commit: a change of either is another run."""
    host: OneLine = ""
    """Version and commit of the ComfyUI whose models are trained, where they are: another one may give other bytes."""
    model_files: dict[Word, ModelFileFacts] = {}
    """Text encoders and VAE beside the base model, for engines that load them by these names."""
    preset: Word | Literal[""] = ""
    """Where the numbers came from; not part of the run's identity."""
    settings: TrainingSettings
    """Every number."""
    kohya: dict[str, Any] = {}
    """Further sd-scripts options (kohya engine only)."""

    @field_validator("engine")
    @classmethod
    def _known(cls, value: str) -> str:
        return _one_of(tuple(ENGINES), value)

    @field_validator("settings", mode="before")
    @classmethod
    def _as_it_was_meant(cls, value: object) -> object:
        return {**FORMER_DEFAULTS, **value} if isinstance(value, dict) else value

    @field_validator("settings")
    @classmethod
    def _resolved(cls, value: TrainingSettings) -> TrainingSettings:
        """A plan is the same on every machine, and what `auto` means is not."""
        if value.mixed_precision == "auto":
            raise ValueError(
                "mixed_precision is auto. | A plan names no, fp16 or bf16; the preflight decides."
            )
        return value

    @property
    def run_id(self) -> str:
        """First 12 hex digits of SHA-256 over the plan's canonical JSON, without names that change no weight."""
        identity = self.model_dump(mode="json")
        identity.pop("preset")
        identity["base_model"].pop("name")
        if not identity["host"]:
            identity.pop("host")
        files = identity.pop("model_files")
        if files:
            identity["model_files"] = {option: file["sha256"] for option, file in files.items()}
        for name, off in LATER_SETTINGS.items():
            if identity["settings"][name] == off:
                identity["settings"].pop(name)
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode("ascii")).hexdigest()[:12]

    def to_yaml(self) -> str:
        """The text of `plan.yaml`; without model files, host and the like where there are none, as plans were written before there were any."""
        empty = {name for name in ("host", "model_files") if not getattr(self, name)}
        said = self.model_dump(mode="json", exclude=empty)
        return yaml.safe_dump(said, sort_keys=False, allow_unicode=True, width=110)


def make_settings(request: TrainingRequest, family_name: str, *, images: int) -> TrainingSettings:
    """The preset's numbers for this family and number of pictures, with the request's own on top. A request that names every number
    needs no preset, so one that a later version dropped is no hindrance.

    Raises:
        InvalidInput: unknown preset, unknown or impossible values; all of them at once.
        NotFound: unknown family.
    """
    values = request.settings
    if not values.keys() >= TrainingSettings.model_fields.keys():
        values = {**preset_settings(request.preset, architecture(family_name), images=images), **values}
    return parse(TrainingSettings, values, what="the training settings")


def make_plan(
    request: TrainingRequest,
    *,
    dataset: DatasetFacts,
    base_model: BaseModelFacts,
    engine: str,
    engine_version: str,
    model_files: Mapping[str, ModelFileFacts] | None = None,
    host: str = "",
) -> TrainingPlan:
    """The complete plan for `request`. `engine` is the name of the one that was chosen for it, `dataset` says what the folder holds, with
    its own trigger. Raises InvalidInput."""
    settings = make_settings(request, base_model.family, images=dataset.images)
    return parse(
        TrainingPlan,
        {
            "character": request.character or request.dataset,
            "dataset": {**dataset.model_dump(), "trigger": request.trigger or dataset.trigger},
            "base_model": base_model.model_dump(),
            "engine": engine,
            "engine_version": engine_version,
            "host": host,
            "preset": request.preset,
            "settings": settings.model_dump(),
            "model_files": {option: file.model_dump() for option, file in (model_files or {}).items()},
            "kohya": request.kohya,
        },
        what="the plan",
    )


def request_of(plan: TrainingPlan) -> TrainingRequest:
    """The request that leads to `plan`: the inverse of `make_plan`. All numbers are spelled out, since presets may change, and so is the
    trigger, since the dataset may name another."""
    return TrainingRequest(
        dataset=plan.dataset.slug,
        base_model=plan.base_model.name,
        family=plan.base_model.family,
        character=plan.character,
        trigger=plan.dataset.trigger,
        preset=plan.preset,
        engine=plan.engine,
        settings=plan.settings.model_dump(mode="json"),
        model_files={option: file.name for option, file in plan.model_files.items()},
        kohya=plan.kohya,
    )


def read_request(file: Path) -> TrainingRequest:
    """A YAML config as a request. Raises InvalidInput with every problem in it."""
    return parse(TrainingRequest, read_yaml(file), what=file.name)


def read_plan(file: Path) -> TrainingPlan:
    """A run folder's `plan.yaml`. Raises InvalidInput."""
    return parse(TrainingPlan, read_yaml(file), what=file.name)


def plan_differences(old: TrainingPlan, new: TrainingPlan) -> list[tuple[str, Any, Any]]:
    """`(dotted field, old value, new value)` for everything in which two plans differ."""
    return _differences("", old.model_dump(mode="json"), new.model_dump(mode="json"))


def _differences(path: str, old: Any, new: Any) -> list[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in [*old, *(key for key in new if key not in old)]:
            found += _differences(f"{path}.{key}" if path else key, old.get(key), new.get(key))
        return found
    return [] if old == new else [(path, old, new)]
