"""Making a packaged LoRA again: its recipe, checked against this machine, trained, and compared tensor by tensor.

In: a desk and a LoRA file or card. Out: a `Reproduction` that says whether the tensors are the same. A run that is still here
is compared, not trained twice; `again` trains it anew in a workspace of its own below `reproductions/`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .architectures import architecture
from .desk import Desk
from .errors import Conflict, NotFound, Refused
from .files import Tree
from .package.recipe import Ingredients, Recipe, compare_tensors, find_ingredients
from .plan import plan_differences
from .run_folder import RunFolder
from .steering.preflight import Check
from .workspace import Workspace

FOLDER_NAME = "reproductions"


@dataclass(frozen=True)
class Reproduction:
    """A run that carried out a recipe, and how its LoRA compares. `identical` is None for a card without digests."""

    run: RunFolder
    verdict: str
    identical: bool | None


def prepare(desk: Desk, recipe: Recipe, *, base_model: str = "", again: bool = False) -> tuple[Desk, Check]:
    """The desk that will train the recipe and its check, proven to give the recipe's own run.

    Raises:
        InvalidInput: dataset or base model are missing or others. Refused: this installation would train another run;
            the differences are named. Conflict: something trains, and `again` wants the machine for itself.
    """
    places, folder = desk.places, architecture(recipe.plan.base_model.family).base_folder
    base_dirs = [*places.base_model_dirs(folder), *places.checkpoint_dirs]
    found = find_ingredients(recipe, desk.workspace, base_dirs=base_dirs, base_model=base_model)
    if again:
        desk = _desk_apart(desk, recipe, found)
    check = desk.check(recipe.request(base_model=found.base_model_name))
    if check.plan.run_id != recipe.run_id:
        changes = [
            f"{field}: {old} there, {new} here"
            for field, old, new in plan_differences(recipe.plan, check.plan)
            if field not in ("preset", "base_model.name")
        ]
        raise Refused(
            "This installation would not train the same run:\n  - " + "\n  - ".join(changes),
            "Install the versions that the LoRA was trained with.",
        )
    return desk, check


def reproduce(
    desk: Desk, recipe: Recipe, check: Check, *, follow: Callable[[Desk, RunFolder], object]
) -> Reproduction:
    """Train what `prepare` gave and compare. `follow` waits for the run's end, as a progress display does.

    Raises:
        Refused: an obstacle before the start. NotFound: the run ended without the recipe's step.
    """
    run = desk.submit(check)
    if not desk.state(run.run_id).is_finished:
        follow(desk, run)
    state = desk.state(run.run_id)
    if state.status != "completed":
        raise NotFound(
            f"The run is {state.status} at step {state.step}: {state.problem}".rstrip(": "),
            f"{state.fix} `resume {run.run_id}` goes on.".strip(),
        )
    made = run.weights_of(run.checkpoint(recipe.step)["file"])
    verdict = compare_tensors(recipe, made)
    return Reproduction(run, verdict, None if recipe.tensors is None else verdict.startswith("Identical"))


def _desk_apart(desk: Desk, recipe: Recipe, found: Ingredients) -> Desk:
    """A desk on a workspace of its own with the same dataset, so that the run that is here stays untouched."""
    if any(desk.is_alive(each.run_id) for each in desk.runs()) or desk.queue():
        raise Conflict("A run trains or waits in this workspace.", "Wait for it to end, then reproduce.")
    workspace = Workspace.at(desk.workspace.root / FOLDER_NAME / recipe.run_id)
    _share(found.dataset_dir, workspace.dataset_dir(recipe.plan.dataset.slug))
    places = desk.places
    return Desk(
        workspace,
        checkpoint_dirs=places.checkpoint_dirs,
        lora_dirs=places.lora_dirs,
        tokenizer_dir=places.tokenizer_dir,
        engines=desk.engines,
        least_free_bytes=places.least_free_bytes,
        model_dirs=places.model_dirs,
        import_dirs=places.import_dirs,
    )


def _share(dataset_dir: Path, link: Path) -> None:
    """A link to the dataset where the system allows one, else a copy."""
    if link.exists():
        return
    Tree(link.parent).make()
    try:
        os.symlink(dataset_dir, link, target_is_directory=True)
    except OSError:
        shutil.copytree(dataset_dir, link)
