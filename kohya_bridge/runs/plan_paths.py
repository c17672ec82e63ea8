"""Where the files of an existing plan lie now: a plan names contents, not places.

In: a plan that was made earlier, maybe on a machine that was tidied up since. Out: this machine's paths, with every file
proven to be the one that the plan was made with.
"""

from __future__ import annotations

from pathlib import Path

from ..architectures import architecture
from ..dataset import dataset_digest, read_dataset
from ..engines.contract import MachinePaths
from ..errors import Conflict, NotFound
from ..files import Tree
from ..models.family_files import find_model_files
from ..models.model_files import find_model, is_model, model_sha256, models_called
from ..models.places import Places
from ..models.starting_lora import resolve_loras
from ..plan import TrainingPlan
from ..run_folder import RunFolder
from ..workspace import file_sha256


def paths_of(run: RunFolder, plan: TrainingPlan, places: Places) -> MachinePaths:
    """The paths for another attempt at `plan`. The base model may have been moved or renamed, but not changed.

    Raises:
        NotFound: the dataset or the model is gone. Conflict: one of them has changed.
    """
    weights = resolve_loras(plan.settings.model_dump(), places.workspace, places.lora_dirs)
    base = _base_file(run, plan, places)
    paths = MachinePaths(
        base_model_file=base,
        dataset_dir=places.workspace.dataset_dir(plan.dataset.slug),
        cache_dir=places.workspace.cache_dir,
        tokenizer_dir=places.tokenizer_dir,
        extra={**places.folder_hints(), **weights.extra, **_model_files(plan, base, places)},
    )
    refuse_changed_dataset(plan, paths)
    return paths


def refuse_changed_dataset(plan: TrainingPlan, paths: MachinePaths) -> None:
    """Raise Conflict unless the dataset is, to the byte, the one that `plan` was made with."""
    if dataset_digest(read_dataset(paths.dataset_dir), cache_dir=paths.cache_dir) != plan.dataset.digest:
        raise Conflict(
            f"The dataset {plan.dataset.slug!r} has changed since this run was planned.",
            "Submit it again as a new run, or put the pictures and captions back.",
        )


def _base_file(run: RunFolder, plan: TrainingPlan, places: Places) -> Path:
    """The file of that name that is the plan's base model; several folders may hold one of the name."""
    name, folder = plan.base_model.name, architecture(plan.base_model.family).base_folder
    folders = [*places.base_model_dirs(folder), *places.checkpoint_dirs]
    found = models_called(name, folders, what="checkpoint") or _former_base_file(run)
    for file in found:
        if model_sha256(file, cache_dir=places.workspace.cache_dir) == plan.base_model.sha256:
            return file
    if not found:
        find_model(name, folders, what="checkpoint")  # raises, and names what is there
    raise Conflict(
        f"The checkpoint {name!r} is not the one that this run began with.",
        "Put the former file back, or submit the training again as a new run.",
    )


def _former_base_file(run: RunFolder) -> list[Path]:
    """Where the last attempt found it, if it is still there. The word of a file, so only a model is looked at."""
    try:
        place = Path(Tree(run.dir).read_json(run.child_file)["paths"]["base_model_file"])
    except (OSError, KeyError, TypeError, ValueError):
        return []
    is_one = place.is_absolute() and is_model(place) and (place.is_dir() or place.suffix == ".safetensors")
    return [place] if is_one else []


def _model_files(plan: TrainingPlan, base: Path, places: Places) -> dict[str, str]:
    """The text encoders and VAE that the plan names, each proven to be the one that it was made with."""
    found = {}
    for option, facts in plan.model_files.items():
        kind = architecture(plan.base_model.family).file(option)
        files = find_model_files(facts.name, kind, base, places.folder_hints())
        same = (
            each for each in files if file_sha256(each, cache_dir=places.workspace.cache_dir) == facts.sha256
        )
        file = next(same, None)
        if not files:
            problem = f"{kind.title} {facts.name!r} is no longer in {kind.folder}."
            raise NotFound(problem, "Put the file back under its name.")
        if file is None:
            problem = f"{kind.title} {facts.name!r} is not the one that this run began with."
            raise Conflict(problem, "Put the former file back, or submit the training again as a new run.")
        found[option] = str(file)
    return found
