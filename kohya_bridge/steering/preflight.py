"""Preflight: everything that can be known to go wrong, asked before anything is spent, and told at once.

In: a `TrainingRequest` and where models lie. Out: a `Check` with the complete plan, this machine's paths, and what stands
in the way or is worth knowing; or one error that names everything that is wrong with the request. It starts and writes
nothing (but the cache of digests).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..architectures import ARCHITECTURES, FIRST, architecture
from ..architectures.base import Architecture
from ..building.character_options import check_trigger
from ..counted import counted
from ..dataset import Dataset, dataset_digest, find_dataset
from ..device.precision import AUTO, Precision
from ..engine_names import takes_kohya_options
from ..engines.contract import Engine, MachinePaths, Problem
from ..errors import BridgeError, FieldProblem, InvalidInput, NotFound, Refused, Unavailable
from ..forbidding import parse
from ..lint import LintReport, lint_dataset
from ..lint.report import how_to_waive
from ..models.base_models import BaseModel, inspect_base_model
from ..models.chosen_files import ChosenFiles, choose_files
from ..models.comfy_folders import host_folder, host_name
from ..models.family_files import complete_model_files
from ..models.model_files import find_model, model_sha256
from ..models.places import Places
from ..models.starting_lora import resolve_loras
from ..models.stored_weights import weights_in
from ..plan import BaseModelFacts, DatasetFacts, TrainingPlan, TrainingRequest, make_plan, make_settings
from ..runs.base_fit import base_problems
from ..runs.disk_need import disk_problems
from ..runs.engine_choice import choose_engine
from ..runs.forecast import Forecast, forecast, memory_problems
from ..runs.run_table import read_experiments
from ..settings import TrainingSettings

T = TypeVar("T")


@dataclass(frozen=True)
class Check:
    """The answer to "can this be trained, and what would happen?"."""

    request: TrainingRequest
    plan: TrainingPlan
    paths: MachinePaths
    problems: tuple[Problem, ...]
    engine_reason: str
    """Which engine was taken and why, as a sentence."""
    precision_reason: str
    """What `mixed_precision: auto` became and why, such as `no: this CPU has no bf16 arithmetic; ...`; empty where it was named."""
    lint: LintReport
    forecast: Forecast
    """What it would take: memory and time, estimated."""
    changes: tuple[tuple[str, Any, Any], ...] = ()
    """`(field, old, new)` against the newest run of the same name, if there is one with another id."""
    compared_with: str = ""
    """The id of that run."""

    @property
    def blocking(self) -> tuple[Problem, ...]:
        return tuple(each for each in self.problems if each.blocks)

    @property
    def advice(self) -> tuple[Problem, ...]:
        return tuple(each for each in self.problems if not each.blocks)

    def refuse_if_blocked(self) -> None:
        """Raises Refused with every obstacle."""
        refuse_obstacles(self.problems)


def refuse_obstacles(problems: Iterable[Problem]) -> None:
    """Raise Refused with all of `problems` that block, if any does."""
    problems = tuple(problems)
    lines = [f"  - {each.sentence}" for each in problems if each.blocks]
    rules = [
        each.code.removeprefix("lint:") for each in problems if each.blocks and each.code.startswith("lint:")
    ]
    waiving = [how_to_waive(rules)] if rules else []
    if lines:
        raise Refused("\n".join(["The training can't start:", *lines, *waiving]))


def check_request(request: TrainingRequest, places: Places, engines: Mapping[str, Engine]) -> Check:
    """Resolve every name in `request`, make the plan, and ask everybody who may object.

    Raises:
        InvalidInput, NotFound: the request itself is wrong; with all that is wrong with it.
    """
    faults = _Faults()
    dataset = faults.of("dataset", request.dataset, lambda: _find_dataset(request.dataset, places))
    faults.of("trigger", request.trigger, lambda: _plain_trigger(request.trigger))
    base_file = faults.of(
        "base_model",
        request.base_model,
        lambda: find_model(request.base_model, _base_dirs(request.family, places), what="checkpoint"),
    )
    base = (
        faults.of("base_model", request.base_model, lambda: inspect_base_model(base_file))
        if base_file and not _is_believed(request)
        else None
    )
    family_name = faults.of("family", request.family, lambda: _family_of(request, base)) or FIRST.name
    weights = faults.of(
        "settings.network_weights",
        request.settings.get("network_weights"),
        lambda: resolve_loras(request.settings, places.workspace, places.lora_dirs),
    )
    settings = {**request.settings, **(weights.settings if weights else {}), **_predicted(request, base)}
    wanted = request.model_copy(update={"settings": settings})
    settings_made = faults.of_settings(
        lambda: make_settings(wanted, family_name, images=len(dataset.items) if dataset else 20)
    )
    choice = faults.of("engine", request.engine, lambda: choose_engine(request, family_name, engines))
    faults.raise_any()
    assert dataset and base_file and choice and weights and settings_made
    wanted, files = _with_model_files(wanted, choice.name, architecture(family_name), base_file, places)
    precision = _resolved(wanted, settings_made, architecture(family_name), engines[choice.name], places)
    if precision:
        wanted = wanted.model_copy(
            update={"settings": {**wanted.settings, "mixed_precision": precision.name}}
        )

    lint = lint_dataset(
        dataset,
        trigger=request.trigger,
        training=settings_made,
        tokenizer_dir=places.tokenizer_dir,
        of_family=architecture(family_name),
        engine=choice.name,
        cache_dir=places.workspace.cache_dir,
    )
    plan = make_plan(
        wanted,
        dataset=parse(DatasetFacts, _dataset_facts(dataset, places), what=f"the dataset {dataset.slug}"),
        base_model=parse(
            BaseModelFacts,
            {
                "name": request.base_model,
                "sha256": model_sha256(base_file, cache_dir=places.workspace.cache_dir),
                "family": family_name,
            },
            what="the base model",
        ),
        engine=choice.name,
        engine_version=choice.version,
        model_files=files.facts,
        host=_host_of(choice.name, architecture(family_name), places),
    )
    paths = MachinePaths(
        base_model_file=base_file,
        dataset_dir=dataset.dir,
        cache_dir=places.workspace.cache_dir,
        tokenizer_dir=places.tokenizer_dir,
        extra={**places.folder_hints(), **weights.extra, **files.paths},
    )
    told = forecast(
        plan,
        weights_in(base_file),
        engines[choice.name].device(places.workspace.cache_dir),
        read_experiments(places.workspace)[0],
    )
    problems = [
        *_lint_problems(lint),
        *_prediction_problems(plan, base),
        *base_problems(plan, base_file, named=request.family in ARCHITECTURES),
        *disk_problems(plan, places.workspace.root, least_free_bytes=places.least_free_bytes),
        *engines[choice.name].problems(plan, paths),
        *memory_problems(told, plan),
    ]
    reason = precision.reason if precision else ""
    return Check(request, plan, paths, tuple(problems), choice.reason, reason, lint, told)


def numbers_for(request: TrainingRequest, places: Places, *, images: int) -> TrainingSettings | None:
    """The numbers that a request would be trained with, for those who judge a dataset before its training is asked for. None where
    the request itself is wrong: `check_request` says how."""
    try:
        base_file = find_model(request.base_model, _base_dirs(request.family, places), what="checkpoint")
        base = None if _is_believed(request) else inspect_base_model(base_file)
        return make_settings(request, _family_of(request, base), images=images)
    except (InvalidInput, NotFound, Unavailable):
        return None


def _dataset_facts(dataset: Dataset, places: Places) -> dict[str, object]:
    return {
        "slug": dataset.slug,
        "digest": dataset_digest(dataset, cache_dir=places.workspace.cache_dir),
        "images": len(dataset.items),
        "trigger": dataset.trigger,
    }


class _Faults:
    """Collects what is wrong with a request, so that one round of mending is enough."""

    def __init__(self) -> None:
        self.errors: list[BridgeError] = []
        self.problems: list[FieldProblem] = []

    def of(self, field: str, value: object, resolve: Callable[[], T]) -> T | None:
        """The value of `resolve`, or None with its error kept under the name of `field`."""
        try:
            return resolve()
        except (InvalidInput, NotFound, Unavailable) as error:
            self.errors.append(error)
            self.problems.append(FieldProblem(field, value, error.problem, error.fix))
            return None

    def of_settings(self, make: Callable[[], T]) -> T | None:
        try:
            return make()
        except InvalidInput as error:
            self.errors.append(error)
            field = FieldProblem("preset", None, error.problem, error.fix)
            self.problems += error.problems or (field,)
            return None

    def raise_any(self) -> None:
        """One fault is raised as it is, several as one InvalidInput that lists them."""
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            raise InvalidInput(
                f"There are {counted(len(self.problems), 'problem')} in the request:",
                "Correct these and try again.",
                problems=self.problems,
            )


def _plain_trigger(trigger: str) -> str:
    try:
        return check_trigger(trigger) if trigger else ""
    except ValueError as error:
        problem, _, fix = str(error).partition(" | ")
        raise InvalidInput(problem[:1].upper() + problem[1:], fix) from None


def _find_dataset(slug: str, places: Places) -> Dataset:
    dataset = find_dataset(places.workspace, slug)
    if not dataset.items:
        raise InvalidInput(
            f"The dataset {slug!r} holds no pictures.",
            "Export some with Caption Export, or copy them into images/.",
        )
    return dataset


def _with_model_files(
    request: TrainingRequest, engine: str, of_family: Architecture, base_file: Path, places: Places
) -> tuple[TrainingRequest, ChosenFiles]:
    """The request with the text encoders and VAE of its family where the engine looks for them: among its own options, or in
    the plan's `model_files`."""
    options = {each.option for each in of_family.model_files}
    if takes_kohya_options(engine):
        parts = complete_model_files({**request.model_files, **request.kohya}, of_family, base_file, places)
        return request.model_copy(update={"kohya": parts, "model_files": {}}), ChosenFiles()
    if of_family.trainable != "host":  # such an engine says that it takes none
        both = {**request.model_files, **request.kohya}
        return request.model_copy(update={"kohya": both, "model_files": {}}), ChosenFiles()
    named = {option: str(name) for option, name in request.kohya.items() if option in options}
    rest = {option: value for option, value in request.kohya.items() if option not in options}
    files = choose_files({**named, **request.model_files}, of_family, base_file, places)
    return request.model_copy(update={"kohya": rest}), files


def _host_of(engine: str, of_family: Architecture, places: Places) -> str:
    """The ComfyUI that a run is bound to, where it trains ComfyUI's own models."""
    folder = host_folder(places.tokenizer_dir)
    through_it = of_family.trainable == "host" and not takes_kohya_options(engine)
    return host_name(folder) if folder and through_it else ""


def _base_dirs(family_name: str, places: Places) -> list[Path]:
    """Where a base model of that family is looked for: checkpoints first, unless the family is a bare transformer."""
    if family_name in ARCHITECTURES:
        return places.base_model_dirs(ARCHITECTURES[family_name].base_folder)
    return [*places.checkpoint_dirs, *places.base_model_dirs("diffusion_models")]


def _is_believed(request: TrainingRequest) -> bool:
    """Whether the family is taken as it is named, without a look at the file: its engine looks whether it fits."""
    return request.family in ARCHITECTURES and ARCHITECTURES[request.family].flow


def _family_of(request: TrainingRequest, base: BaseModel | None) -> str:
    if request.family != "auto":
        named = architecture(request.family)
        if base and base.family != named.name:
            raise InvalidInput(
                f"{request.base_model} is {architecture(base.family).a_model}, not {named.a_model}.",
                "Set family to auto, or choose another checkpoint.",
            )
        return named.name
    return base.family if base else FIRST.name


def _predicted(request: TrainingRequest, base: BaseModel | None) -> dict[str, Any]:
    """What the checkpoint says of its own objective, where the person said nothing."""
    if base is None or "prediction_type" in request.settings or base.prediction_type != "v_prediction":
        return {}
    return {"prediction_type": base.prediction_type, "zero_terminal_snr": base.zero_terminal_snr}


def _resolved(
    request: TrainingRequest,
    settings: TrainingSettings,
    of_family: Architecture,
    engine: Engine,
    places: Places,
) -> Precision | None:
    """What `mixed_precision: auto` means for the device that will train; None where a format is named."""
    if settings.mixed_precision != AUTO:
        return None
    return engine.precision(request, of_family, engine.device(places.workspace.cache_dir))


def _lint_problems(report: LintReport) -> list[Problem]:
    return [
        Problem(
            f"lint:{finding.rule}",
            f"{finding.subject}: {finding.problem}" if finding.subject else finding.problem,
            finding.fix,
            blocks=finding.severity == "error",
        )
        for finding in report.findings
        if finding.severity in ("error", "warning")
    ]


def _prediction_problems(plan: TrainingPlan, base: BaseModel | None) -> list[Problem]:
    if base is None or base.prediction_type in ("flow", plan.settings.prediction_type):
        return []
    said = "says that it is" if base.prediction_is_stated else "does not say so and is taken for"
    return [
        Problem(
            "prediction_type",
            f"prediction_type is {plan.settings.prediction_type}; the checkpoint {said} {base.prediction_type}.",
            "Leave prediction_type out, unless you know the model better than its file does.",
            blocks=base.prediction_is_stated,
        )
    ]
