"""The recipe inside a packaged LoRA or its card: the complete plan, and what a machine needs to carry it out.

In: a LoRA file, or a model card. Out: a `Recipe` whose plan is proven to be the one that it names, or the reason why it
can't be trusted; then what is missing here. It starts no training: the desk takes `Recipe.request()`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import json_text
from ..counted import counted
from ..dataset import dataset_digest, read_dataset
from ..errors import BridgeError, FieldProblem, InvalidInput, NotFound, Refused
from ..files import read_named
from ..forbidding import parse, parse_yaml
from ..models.model_files import find_model, model_sha256
from ..models.safetensors_header import SafetensorsHeader, read_header
from ..plan import TrainingPlan, TrainingRequest, request_of
from ..workspace import Workspace
from .card import PATHS_TAKEN_OUT
from .header import tensor_sha256
from .metadata import CHECKPOINT_KEY, PLAN_KEY, RUN_KEY, SCRUBBED_KEY, STEP_KEY

MOST_CARD_BYTES = 1 << 20
_STEP = re.compile(r"[0-9]{1,9}")
_PLAN_BLOCK = re.compile(
    r"^(?P<fence>```+)yaml\n(?P<plan>version: 1\n.*?)^(?P=fence)$", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Recipe:
    """How a LoRA was made. `tensors` is what its weights must hash to again; None when only the card is there."""

    source: Path
    plan: TrainingPlan
    run_id: str
    step: int
    tensors: str | None
    checkpoint_sha256: str | None

    def request(self, *, base_model: str = "") -> TrainingRequest:
        """The request that gives this plan again: every number spelled out, nothing left to presets.

        `base_model` is the base's name on this machine where it is another one.
        """
        request = request_of(self.plan)
        return request.model_copy(update={"base_model": base_model}) if base_model else request

    def needs(self) -> str:
        """For people: what must be on a machine to make this LoRA again."""
        plan = self.plan
        return "\n".join(
            (
                f"run {self.run_id}, step {self.step} of {plan.settings.max_train_steps}",
                f"dataset {plan.dataset.slug}: {counted(plan.dataset.images, 'picture')}, digest {plan.dataset.digest}",
                f"base model {plan.base_model.name}: SHA-256 {plan.base_model.sha256}",
                f"engine {plan.engine} {plan.engine_version}",
            )
        )


@dataclass(frozen=True)
class Ingredients:
    """Where a recipe's dataset and base model lie on this machine; both are the right ones by digest."""

    dataset_dir: Path
    base_model_file: Path
    base_model_name: str
    """As ComfyUI's list shows it here."""


def read_recipe(file: Path) -> Recipe:
    """The recipe in a packaged LoRA (`.safetensors`) or a model card (`.md`).

    Raises:
        NotFound: no such file. InvalidInput: it holds no recipe.
        Refused: it was changed since it was packaged; the sentence says what does not fit.
    """
    if not file.is_file():
        raise NotFound(f"There is no file {file.name}.", "Give a packaged LoRA or its model card.")
    if file.suffix.lower() == ".md":
        return _from_card(file)
    return _from_lora(file, read_header(file))


def find_ingredients(
    recipe: Recipe, workspace: Workspace, *, base_dirs: Sequence[Path], base_model: str = ""
) -> Ingredients:
    """The dataset and base model of a recipe on this machine, the latter in one of `base_dirs`. `base_model` is its name here if that
    is another one.

    Raises:
        InvalidInput: either is missing or is not the one that the LoRA was trained from; both are said at once.
    """
    name = base_model or recipe.plan.base_model.name
    dataset_dir = workspace.dataset_dir(recipe.plan.dataset.slug)
    file, base_problem = _base_file(recipe, workspace, base_dirs, name)
    problems = [each for each in (_dataset_problem(recipe, workspace, dataset_dir), base_problem) if each]
    if problems or file is None:
        raise InvalidInput(
            f"{recipe.source.name} can't be made again here:",
            "Put these in place and try again.",
            problems=problems,
        )
    return Ingredients(dataset_dir, file, name)


def compare_tensors(recipe: Recipe, made: Path) -> str:
    """One sentence: whether the LoRA in `made` has the recipe's tensors, to the byte."""
    if recipe.tensors is None:
        return f"{recipe.source.name} is a card: it names no tensors to compare with."
    if tensor_sha256(read_header(made)) == recipe.tensors:
        return f"Identical: the tensors of {made.name} equal those of {recipe.source.name} to the byte."
    return (
        f"Different: the tensors of {made.name} are not those of {recipe.source.name}. Other hardware or other library "
        "versions give other roundings; on the same machine this points to a changed engine."
    )


def _from_lora(file: Path, header: SafetensorsHeader) -> Recipe:
    metadata = header.metadata
    if PLAN_KEY not in metadata:
        raise InvalidInput(
            f"{file.name} carries no training plan.", "Only LoRAs that Package LoRA made can be reproduced."
        )
    plan = _plan(metadata[PLAN_KEY], file)
    tensors = tensor_sha256(header)
    if metadata.get("sshs_model_hash") != tensors:
        raise _tampered(file, "its tensors are not the ones that its header was written for")
    step = metadata.get(STEP_KEY, "")
    if not _STEP.fullmatch(step):
        raise _tampered(file, "it does not say which step it is")
    if metadata.get(SCRUBBED_KEY) == "true":
        raise _incomplete(file)
    return _checked(
        Recipe(
            file, plan, metadata.get(RUN_KEY, ""), int(step), tensors, metadata.get(CHECKPOINT_KEY) or None
        )
    )


def _from_card(file: Path) -> Recipe:
    if file.stat().st_size > MOST_CARD_BYTES:
        raise InvalidInput(
            f"{file.name} is too large for a model card.", "Give a card that Package LoRA wrote."
        )
    text = read_named(file, most=MOST_CARD_BYTES).decode("utf-8", "replace")
    block, run = _PLAN_BLOCK.search(text), re.search(r"\| Run \| `([0-9a-f]{12})` \|", text)
    step, tensors = (
        re.search(r"\| Step \| ([0-9]{1,9}) of ", text),
        re.search(r"\| SHA-256 of the tensors \| `([0-9a-f]{64})`", text),
    )
    if block is None or run is None or step is None:
        raise InvalidInput(
            f"{file.name} carries no training plan.",
            "Give a card that Package LoRA wrote, or the LoRA itself.",
        )
    if PATHS_TAKEN_OUT in text:
        raise _incomplete(file)
    plan = _plan(block["plan"], file)
    return _checked(Recipe(file, plan, run.group(1), int(step.group(1)), tensors and tensors.group(1), None))


def _plan(text: str, file: Path) -> TrainingPlan:
    try:
        data = json_text.read(text) if text.startswith("{") else parse_yaml(text, what=file.name)
        return parse(TrainingPlan, data, what="the plan")
    except (ValueError, RecursionError, BridgeError) as error:
        reason = error.problem if isinstance(error, BridgeError) else "it can't be read"
        raise _tampered(file, f"its training plan is damaged ({reason})") from None


def _checked(recipe: Recipe) -> Recipe:
    if recipe.plan.run_id != recipe.run_id:
        raise _tampered(
            recipe.source,
            f"its plan gives run {recipe.plan.run_id}, but it says that it comes from run {recipe.run_id}",
        )
    return recipe


def _incomplete(file: Path) -> Refused:
    return Refused(
        f"The training of {file.name} named files of the machine that it ran on, and those names were taken out.",
        "It can be made again where its run folder is: `train` with the same config.",
    )


def _tampered(file: Path, reason: str) -> Refused:
    return Refused(
        f"{file.name} was changed since it was packaged: {reason}.",
        "Get the original file from where it was published.",
    )


def _dataset_problem(recipe: Recipe, workspace: Workspace, dir: Path) -> FieldProblem | None:
    wanted = recipe.plan.dataset
    if not dir.is_dir():
        problem, fix = "is not on this machine.", f"Put the dataset with digest {wanted.digest} there."
        return FieldProblem("dataset", wanted.slug, problem, fix)
    found = dataset_digest(read_dataset(dir), cache_dir=workspace.cache_dir)
    if found == wanted.digest:
        return None
    problem = f"is another version: its digest is {found}."
    return FieldProblem("dataset", wanted.slug, problem, f"Restore the version with digest {wanted.digest}.")


def _base_file(
    recipe: Recipe, workspace: Workspace, dirs: Sequence[Path], name: str
) -> tuple[Path | None, FieldProblem | None]:
    wanted = recipe.plan.base_model.sha256
    try:
        file = find_model(name, dirs, what="checkpoint")
    except (NotFound, InvalidInput):
        problem = "is not in ComfyUI's checkpoint folders."
        fix = f"Put the file with SHA-256 {wanted} there, or name it with --base."
        return None, FieldProblem("base model", name, problem, fix)
    if model_sha256(file, cache_dir=workspace.cache_dir) == wanted:
        return file, None
    return None, FieldProblem("base model", name, "is another file.", f"Get the one with SHA-256 {wanted}.")
