"""The further model files of a family, chosen by name from ComfyUI's folders.

In: the names in the plan's kohya section (`clip_l: clip_l.safetensors`) and the base model's place. Out: paths by sd-scripts
option. A plan never holds a path: a name is looked for in the model folder that ComfyUI keeps for such files, beside the
folder of the base model, or in the folders that the host names (`paths.extra["folder.text_encoders"]`, separated as in PATH).
"""

from __future__ import annotations

from pathlib import Path

from ...architectures import architecture
from ...architectures.base import ModelFile
from ...models.family_files import find_model_file, what_is_missing
from ...plan import TrainingPlan
from ..contract import MachinePaths, Problem


def find_model_files(plan: TrainingPlan, paths: MachinePaths) -> tuple[dict[str, Path], list[Problem]]:
    """`(paths by option, what is missing)` for the plan's family; the LoRAs that its settings name are among them."""
    found: dict[str, Path] = {}
    problems: list[Problem] = []
    for each in architecture(plan.base_model.family).model_files:
        name = str(plan.kohya.get(each.option, ""))
        given = paths.extra.get(each.option)
        place = Path(given) if given else find_model_file(name, each, paths.base_model_file, paths.extra)
        if place is not None and place.is_file():
            found[each.option] = place.resolve()
        elif name or each.required:
            problems.append(_missing(each, name, paths))
    for name, what in (("network_weights", "LoRA to start from"), ("base_weights", "training adapter")):
        if getattr(plan.settings, name):
            lora = paths.extra.get(name)
            if lora and Path(lora).is_file():
                found[name] = Path(lora).resolve()
            else:
                problem = f"The {what} ({name}) is not on this machine."
                problems.append(Problem("lora_missing", problem, "Put it into the loras folder."))
    return found, problems


def _missing(file: ModelFile, name: str, paths: MachinePaths) -> Problem:
    problem, listed = what_is_missing(file, name, paths.base_model_file, paths.extra)
    fix = f"Choose it in Kohya Model Files, or set kohya.{file.option} to a file name. {listed}"
    return Problem("model_file_missing", problem, fix)
