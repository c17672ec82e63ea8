"""Starting: the command of a waiting run, made by its engine at the moment when its turn comes.

In: an order, the engines of this installation, and the model folders of this machine. Out: a `Command`. Everything that may
have changed while the run waited is checked again: its dataset, its base model, the engine's version and its obstacles.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..engines.contract import Command, Engine, MachinePaths
from ..errors import Conflict, Unavailable
from ..models.comfy_folders import find_comfy_folders
from ..models.places import Places
from ..plan import TrainingPlan
from ..run_folder import RunFolder
from ..runs.plan_paths import paths_of
from ..workspace import Workspace
from .preflight import refuse_obstacles


def make_command(run: RunFolder, engines: Mapping[str, Engine], places: Places) -> Command:
    """How to start the next attempt of `run`, from its newest state; what its child reads is written.

    Raises:
        BridgeError: it can't be started here and now; with what to do.
    """
    plan, paths = startable(run, engines, places)
    saved = run.latest_state()
    return engines[plan.engine].command(run, plan, paths, resume=saved[1] if saved else None)


def startable(
    run: RunFolder, engines: Mapping[str, Engine], places: Places
) -> tuple[TrainingPlan, MachinePaths]:
    """The plan of `run` and where its files lie now, if nothing stands in the way of starting it.

    Raises:
        NotFound, Conflict: its dataset, base model or engine are not what they were, or the plan is another run's.
        Refused, Unavailable: the engine can't start it here and now.
    """
    plan = run.plan()
    refuse_foreign_plan(run, plan)
    engine = _engine_of(plan, engines)
    _refuse_other_engine(plan, engine)
    paths = paths_of(run, plan, places)
    refuse_obstacles(engine.problems(plan, paths))
    return plan, paths


def refuse_foreign_plan(run: RunFolder, plan: TrainingPlan) -> None:
    """Raise Conflict unless the plan in a run's folder is that run's own: its id is the plan's digest."""
    if (plan.character, plan.run_id) != (run.slug, run.run_id):
        raise Conflict(
            f"The plan in {run.slug}/{run.run_id} is that of another run ({plan.character}/{plan.run_id}).",
            "Submit the training anew; this folder can be deleted.",
        )


def usual_places(workspace: Workspace) -> Places:
    """Model folders as a shell finds them."""
    found = find_comfy_folders()
    return Places(workspace, found.checkpoint_dirs, found.lora_dirs, found.tokenizer_dir)


def _engine_of(plan: TrainingPlan, engines: Mapping[str, Engine]) -> Engine:
    engine = engines.get(plan.engine)
    if engine is None:
        raise Unavailable(f"The {plan.engine} engine is not part of this installation.", "See `doctor`.")
    return engine


def _refuse_other_engine(plan: TrainingPlan, engine: Engine) -> None:
    here = engine.version()
    if here != plan.engine_version:
        raise Conflict(
            f"The run was begun with version {plan.engine_version} of the {plan.engine} engine; here is {here}.",
            "Submit the training again as a new run, or bring that version back.",
        )
