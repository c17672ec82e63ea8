"""The further model files of a family, chosen by name from ComfyUI's folders.

In: the names in the plan's kohya section (`clip_l: clip_l.safetensors`) and the base model's place. Out: paths by sd-scripts
option. A plan never holds a path: a name is looked for in the model folder that ComfyUI keeps for such files, beside the
folder of the base model, or in the folders that the host names (`paths.extra["folder.text_encoders"]`, separated as in PATH).
"""

from __future__ import annotations

from pathlib import Path

from ...architectures import architecture
from ...architectures.base import ModelFile
from ...models.family_files import candidates, model_folders
from ...models.model_files import list_models
from ...plan import TrainingPlan
from ..contract import MachinePaths, Problem


def find_model_files(plan: TrainingPlan, paths: MachinePaths) -> tuple[dict[str, Path], list[Problem]]:
    """`(paths by option, what is missing)` for the plan's family; a LoRA to start from is among them."""
    found: dict[str, Path] = {}
    problems: list[Problem] = []
    for each in architecture(plan.base_model.family).model_files:
        name = str(plan.kohya.get(each.option, ""))
        given = paths.extra.get(each.option)
        place = Path(given) if given else _look_for(name, each, paths)
        if place is not None and place.is_file():
            found[each.option] = place.resolve()
        elif name or each.required:
            problems.append(_missing(each, name, paths))
    if plan.settings.network_weights:
        lora = paths.extra.get("network_weights")
        if lora and Path(lora).is_file():
            found["network_weights"] = Path(lora).resolve()
        else:
            problems.append(
                Problem(
                    "lora_missing",
                    "The LoRA to start from is not on this machine.",
                    "Put it into the loras folder.",
                )
            )
    return found, problems


def _look_for(name: str, file: ModelFile, paths: MachinePaths) -> Path | None:
    if not name or Path(name).is_absolute() or ".." in Path(name).parts:
        return None
    return next(
        (
            place / name
            for place in model_folders(file.folder, paths.base_model_file, paths.extra)
            if (place / name).is_file()
        ),
        None,
    )


def _missing(file: ModelFile, name: str, paths: MachinePaths) -> Problem:
    folders = model_folders(file.folder, paths.base_model_file, paths.extra)
    fitting = candidates(file, folders)
    there = fitting or list_models(folders)
    listed = f"There are: {', '.join(there[:8])}." if there else f"ComfyUI's {file.folder} folder has none."
    problem = (
        f"{file.title} {name!r} is not in {file.folder}."
        if name
        else f"{file.title} is needed, and {len(fitting)} files may be meant."
        if fitting
        else f"{file.title} is needed and not chosen."
    )
    return Problem(
        "model_file_missing",
        problem,
        f"Choose it in Kohya Model Files, or set kohya.{file.option} to a file name. {listed}",
    )
