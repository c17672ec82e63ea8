"""Whether a base model fits its plan: another family than was named, one of two that only their names tell apart, or a model
that was distilled to few steps.

In: a plan and the file. Out: findings. The header alone is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..architectures import ARCHITECTURES, architecture
from ..architectures.base import Architecture, Shapes
from ..architectures.relatives import Relative
from ..engines.contract import Problem
from ..errors import BridgeError
from ..models.base_models import look
from ..models.other_files import refuse_gguf
from ..models.safetensors_header import read_header
from ..plan import TrainingPlan


def base_problems(plan: TrainingPlan, file: Path, *, named: bool) -> list[Problem]:
    """What is wrong with the base model in `file`, and what is worth knowing of it. `named`: a person chose the family."""
    if file.is_dir():
        return []
    try:
        refuse_gguf(file)
        found, shapes = look(read_header(file))
    except BridgeError as error:
        return [Problem("base_model", error.problem, error.fix)]
    wanted = architecture(plan.base_model.family)
    if _fits(wanted, found, shapes):
        told = [] if named else list(_by_name(plan, wanted, shapes))
        return [*told, *_distilled(plan, wanted, shapes, file)]
    what = (
        (found.a_model if isinstance(found, Architecture) else found.title)
        if found
        else "none of the models that are known here"
    )
    fix = f"Set family to {found.name}." if isinstance(found, Architecture) else f"Choose {wanted.a_model}."
    problem = f"{plan.base_model.name} is not {wanted.a_model} but {what}."
    return [Problem("base_model_family", problem, fix, blocks=found is not None)]


def _fits(wanted: Architecture, found: Architecture | Relative | None, shapes: Shapes) -> bool:
    """A family that stands for the unknown fits what is no known family; U-Nets were looked at when the plan was made."""
    if wanted.untried:
        return not isinstance(found, Architecture)
    return not wanted.flow or wanted.bears(shapes)


def _by_name(plan: TrainingPlan, wanted: Architecture, shapes: Shapes) -> Iterator[Problem]:
    alike = [each for each in ARCHITECTURES.values() if each is not wanted and each.bears(shapes)]
    if alike:
        others = " or ".join(f"{each.title} (family: {each.name})" for each in alike)
        problem = f"{plan.base_model.name} is taken for {wanted.title} by its name; its tensors are the same as those of {others}."
        yield Problem("family_by_name", problem, "Set family where the name misleads.", blocks=False)


def _distilled(plan: TrainingPlan, wanted: Architecture, shapes: Shapes, file: Path) -> Iterator[Problem]:
    distilled = wanted.distilled
    if distilled and distilled.holds(shapes, file.name) and not plan.settings.base_weights:
        yield Problem("distilled", distilled.advice, "", blocks=False)
