"""Kohya Train: a dataset and a base model become a run. Waits for it, or lets the canvas go on without it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from comfy_api.latest import io, ui

from ..kohya_bridge.engine_names import AUTO, CHOICES
from ..kohya_bridge.errors import BridgeError
from ..kohya_bridge.forbidding import parse
from ..kohya_bridge.models.base_models import is_whole_checkpoint
from ..kohya_bridge.plan import TrainingPlan, TrainingRequest
from ..kohya_bridge.presets import PRESETS
from ..kohya_bridge.run_folder import RunFolder
from ..kohya_bridge.run_state import RunState
from ..kohya_bridge.runs import held_prompt
from ..kohya_bridge.runs.held_prompt import HeldPrompt, waiting_part
from ..kohya_bridge.runs.unattended import Unattended, grid_part, grids_on
from ..kohya_bridge.runs.usual_grid import usual_grid
from . import host, unattended_validation
from .edge import plainly
from .gpu_lending import lender
from .lora_validate_grid_node import NODE_ID as GRID
from .off_loop import off_loop
from .sockets import DATASET, SETTINGS, ChosenSettings, DatasetName, RunName
from .training_desk import desk, queue_held
from .training_run_node import NODE_ID as OPEN_RUN
from .training_run_node import describe, run_outputs, what_it_does

if TYPE_CHECKING:
    from ..kohya_bridge.engines.contract import Problem

NODE_ID = "WizdroidKohyaTrain"
WAIT, BACKGROUND = "wait", "background"
NODE_EVENT = "wizdroid.training.node"
"""Tells the page that queued it which run a node trains, so that the node can go on telling of it."""
LOOK_S = 0.25
NO_BASE = "(no model in ComfyUI's folders)"
_DIALS = {
    "steps": "max_train_steps",
    "rank": "network_dim",
    "alpha": "network_alpha",
    "learning_rate": "unet_lr",
    "resolution": "resolution",
    "batch_size": "train_batch_size",
}
_runs_of: dict[str, set[str]] = {}
"""Ids of the runs that came of the same typed inputs: a fingerprint sees nothing of the wired ones."""


class KohyaTrainNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=NODE_ID,
            display_name="Kohya Train",
            category="Wizdroid/Training",
            description="Trains a LoRA in a process of its own. The same inputs are the same run: queueing again attaches, resumes or returns it.",
            inputs=[
                DATASET.Input("dataset", tooltip="What to train on, from Dataset Lint or Caption Export."),
                io.Combo.Input(
                    "base_model",
                    options=_base_models() or [NO_BASE],
                    tooltip="The model to train for: checkpoints, then diffusion models. Its family is read from the file. "
                    "Newer families need text encoders and a VAE beside it.",
                ),
                io.Combo.Input(
                    "preset",
                    options=list(PRESETS),
                    default="standard",
                    tooltip="Sets every number by model family and number of pictures. "
                    + " ".join(f"{name}: {text}" for name, text in PRESETS.items()),
                ),
                io.Combo.Input(
                    "engine",
                    options=list(CHOICES),
                    default=AUTO,
                    tooltip="Who trains: the pack's own engine, or sd-scripts where it is set up. auto chooses and says why.",
                ),
                io.Combo.Input(
                    "mode",
                    options=[WAIT, BACKGROUND],
                    default=WAIT,
                    tooltip="wait: the node shows the progress, Cancel stops and saves. background: the queue stays free, "
                    "and what hangs on this node runs by itself when the run has finished.",
                ),
                io.Int.Input(
                    "steps",
                    default=0,
                    min=0,
                    max=1_000_000,
                    tooltip="Optimizer steps. 0: as the preset says.",
                ),
                io.Int.Input(
                    "rank",
                    default=0,
                    min=0,
                    max=512,
                    tooltip="Rank of the LoRA (network_dim). 0: as the preset says.",
                ),
                io.Float.Input(
                    "alpha",
                    default=0.0,
                    min=0.0,
                    max=1024.0,
                    step=0.5,
                    tooltip="The update is scaled by alpha / rank. 0: as the preset says.",
                ),
                io.Float.Input(
                    "learning_rate",
                    default=0.0,
                    min=0.0,
                    max=10.0,
                    step=0.00001,
                    round=False,
                    tooltip="Learning rate of the U-Net's LoRA. 0: as the preset says.",
                ),
                io.Int.Input(
                    "resolution",
                    default=0,
                    min=0,
                    max=4096,
                    step=8,
                    tooltip="Edge in pixels of the square whose area a training picture has at most. 0: as the preset says.",
                ),
                io.Int.Input(
                    "batch_size",
                    default=0,
                    min=0,
                    max=256,
                    tooltip="Pictures in one step. 0: as the preset says.",
                ),
                io.Int.Input(
                    "seed",
                    default=42,
                    min=0,
                    max=2**32 - 1,
                    control_after_generate=False,  # a seed that moves by itself would make each Run a new training
                    tooltip="The same seed is the same training, bit for bit.",
                ),
                io.String.Input(
                    "trigger",
                    default="",
                    tooltip="The token that calls the character and stands in every caption. Empty: the dataset's own.",
                ),
                io.String.Input(
                    "character", default="", tooltip="Name of the LoRA's files. Empty: the dataset's name."
                ),
                io.Boolean.Input(
                    "validate_checkpoints",
                    default=False,
                    optional=True,
                    tooltip="Renders the LoRA Validate Grid that hangs on this node for every checkpoint as it is saved, without a "
                    "page being open. Without such a node: two seeds, with and without the LoRA.",
                ),
                io.Boolean.Input(
                    "lend_gpu",
                    default=True,
                    optional=True,
                    tooltip="In background mode: the run holds still and leaves the GPU while ComfyUI runs other prompts.",
                ),
                SETTINGS.Input("settings", optional=True, tooltip="Everything else, from Training Settings."),
            ],
            outputs=run_outputs(),
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo, io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, base_model: str | None = None) -> bool | str:
        """Asked before anything runs, in place of ComfyUI's own look at the list. A wired name is seen only when it has come."""
        known = _base_models()
        if not isinstance(base_model, str) or base_model in known:
            return True
        if not known:
            return (
                "ComfyUI has no base model yet. Put a checkpoint (.safetensors) into its models/checkpoints folder, press R, and choose "
                "it at base_model."
            )
        missing = "Nothing is chosen" if base_model == NO_BASE else f"{base_model} is not there"
        return f"{missing}: choose another base_model. There are {', '.join(known[:5])}{' and more' if len(known) > 5 else ''}."

    @classmethod
    def fingerprint_inputs(cls, mode: str = WAIT, base_model: str = "", **typed: Any) -> Any:
        """Stable while every run that came of these inputs is complete; else never the same, so that it is asked again."""
        runs = _runs_of.get(_key(base_model, typed))
        if runs is None:
            return "" if mode == WAIT else float("nan")
        complete = all(_status(run_id) == "completed" for run_id in runs)
        return "" if complete and mode == WAIT else sorted(runs) if complete else float("nan")

    @classmethod
    @plainly
    async def execute(
        cls,
        dataset: DatasetName,
        mode: str,
        validate_checkpoints: bool = False,
        lend_gpu: bool = True,
        settings: ChosenSettings | None = None,
        **typed: Any,
    ) -> io.NodeOutput:
        checked = await off_loop(desk().check, _request(dataset, typed, settings or ChosenSettings()))
        run_name = f"{checked.plan.character}/{checked.plan.run_id}"
        held = wanted = None
        if not (is_complete := _status(checked.plan.run_id) == "completed"):
            host.free_vram()
            held = _held_part(cls.hidden, run_name) if mode == BACKGROUND else None
            if validate_checkpoints:
                wanted = _grids(cls.hidden, run_name, checked.plan, checked.paths.base_model_file)
        run = await off_loop(desk().submit, checked, held_prompt=held, unattended=wanted, lend_gpu=lend_gpu)
        node_id = str(cls.hidden.unique_id)
        advice = "" if is_complete else _notes(checked.advice)
        told = {"node": node_id, "run_id": run.run_id, "text": advice}
        host.send_event(NODE_EVENT, told, to=host.executing_client())
        if wanted:
            unattended_validation.look_at(run)  # a resumed run has checkpoints already
        _runs_of.setdefault(_key(typed.pop("base_model"), typed), set()).add(run.run_id)
        if mode == BACKGROUND and not is_complete:
            if held and _status(run.run_id) == "completed":  # it finished in between, and nobody was told
                await off_loop(queue_held, run)
            return _blocked(run, advice, something_waits=held is not None)
        waiting = None if is_complete else _held_part(cls.hidden, run_name)
        if waiting:
            held_prompt.forget(run, waiting, node_id=node_id)  # it goes on with this prompt
        state, cancelled = await _wait(run, node_id)
        if state.status != "completed":
            if waiting and not cancelled:
                await off_loop(_let_wait, run, waiting)
            _end_without_result(state, cancelled=cancelled)
        return io.NodeOutput(
            RunName(run.run_id, run.slug), run.run_id, describe(run), ui=ui.PreviewText(describe(run))
        )


def _base_models() -> list[str]:
    """What can be trained for, by ComfyUI's lists: checkpoints first, each name once."""
    names = (name for kind in ("checkpoints", "diffusion_models") for name in host.model_names(kind))
    return list(dict.fromkeys(names))


def _request(dataset: DatasetName, typed: dict[str, Any], more: ChosenSettings) -> TrainingRequest:
    """What the person chose, without what they left to the preset (0)."""
    dials = {setting: typed[dial] for dial, setting in _DIALS.items() if typed[dial]}
    return parse(
        TrainingRequest,
        {
            "dataset": dataset.slug,
            "base_model": typed["base_model"],
            "preset": typed["preset"],
            "engine": typed["engine"],
            "trigger": typed["trigger"].strip(),
            "character": typed["character"].strip(),
            "settings": {**more.settings, **dials, "seed": typed["seed"]},
            "model_files": more.model_files,
            "kohya": more.kohya,
        },
        what="Kohya Train",
    )


def request_typed(slug: str, inputs: dict[str, Any], settings: dict[str, Any]) -> TrainingRequest | None:
    """What a node's typed inputs ask for, as far as it decides the numbers; None where one of them is wired."""
    base, preset = inputs.get("base_model"), inputs.get("preset", "standard")
    dials = {setting: inputs.get(dial) for dial, setting in _DIALS.items()}
    if not isinstance(base, str) or not isinstance(preset, str):
        return None
    numbers = {name: value for name, value in dials.items() if isinstance(value, (int, float)) and value}
    try:
        return TrainingRequest(dataset=slug, base_model=base, preset=preset, settings={**settings, **numbers})
    except ValueError:
        return None


def _let_wait(run: RunFolder, waiting: HeldPrompt) -> None:
    """Let what hangs on this node wait for a run that ended without a result: resumed in the panel, it may have one."""
    held_prompt.keep(run, waiting)
    if _status(run.run_id) == "completed":  # it was resumed and has finished in between
        queue_held(run)


def _end_without_result(state: RunState, *, cancelled: bool) -> NoReturn:
    """A person who stopped the run knows that: the prompt ends as one that they interrupted. Whatever else ended it is told."""
    if cancelled or state.status == "stopped":
        host.end_as_interrupted()
    raise BridgeError(state.problem or f"The run was {state.status}.", state.fix)


async def _wait(run: RunFolder, node_id: str) -> tuple[RunState, bool]:
    """Follow a run on the node's progress bar until it has ended; Cancel stops it softly and waits for that.

    Returns how it ended, and whether the person cancelled the prompt.

    Short looks, with sleeps on the event loop between them. So the run goes on and nobody waits any more when another node of the
    prompt fails meanwhile, and when ComfyUI itself is ended (Ctrl-C).
    """
    planned = run.plan().settings.max_train_steps
    progress = host.NodeProgress(planned, node_id=node_id)
    shown, interrupted = None, False
    try:
        with lender().nobody_borrows():  # this prompt would be the borrower
            while True:
                state, over = await off_loop(desk().look, run)
                if state != shown:
                    progress.set(state.step, state.total or planned)
                    progress.say(what_it_does(state))
                    shown = state
                if over:
                    break
                if not interrupted and host.take_interruption():
                    interrupted = True
                    await off_loop(desk().stop, run.run_id)
                await asyncio.sleep(LOOK_S)
    except asyncio.CancelledError:
        host.log.info("The prompt has ended while run %s trains; the run goes on.", run.run_id)
        raise
    return state, interrupted


def _held_part(hidden: Any, run_name: str) -> HeldPrompt | None:
    """What hangs on this node; None when nothing does."""
    replacement = {"class_type": OPEN_RUN, "inputs": {"run_name": run_name}}
    waiting = waiting_part(hidden.prompt or {}, str(hidden.unique_id), replacement=replacement)
    if not waiting:
        return None
    return HeldPrompt(waiting, host.executing_client(), hidden.extra_pnginfo)


def _grids(hidden: Any, run_name: str, plan: TrainingPlan, base_model_file: Path) -> Unattended:
    """The grids that hang on this node, to be rendered for each checkpoint; a usual one when none does."""
    prompt, node_id = hidden.prompt or {}, str(hidden.unique_id)
    opener = {"class_type": OPEN_RUN, "inputs": {"run_name": run_name}}
    grids = grids_on(prompt, node_id, grid=GRID)
    if grids:
        part = grid_part(prompt, node_id, grids, replacement=opener)
        return replace(part, client_id=host.executing_client(), extra_pnginfo=hidden.extra_pnginfo)
    return usual_grid(plan, whole=is_whole_checkpoint(base_model_file), opener=opener, grid=GRID)


def _notes(advice: Iterable[Problem]) -> str:
    from ..kohya_bridge.runs.advice import of_the_training

    return "\n".join(f"Note: {each.sentence}" for each in of_the_training(advice))


def _blocked(run: RunFolder, advice: str, *, something_waits: bool) -> io.NodeOutput:
    """Let the canvas go on without what hangs on this node."""
    from comfy_execution.graph import ExecutionBlocker

    text = f"{describe(run)}\nIt trains in the background" + (
        "; the nodes after this one run by themselves when it has finished." if something_waits else "."
    )
    text += f"\n{advice}" if advice else ""
    return io.NodeOutput(*(ExecutionBlocker(None) for _ in run_outputs()), ui=ui.PreviewText(text))


def _key(base_model: str, typed: dict[str, Any]) -> str:
    file = host.model_file("checkpoints", base_model) or host.model_file("diffusion_models", base_model)
    changed = file.stat().st_mtime_ns if file else 0
    return repr((base_model, changed, sorted((k, v) for k, v in typed.items() if k in (*_DIALS, *_NAMES))))


_NAMES = ("preset", "engine", "seed", "trigger", "character")


def _status(run_id: str) -> str:
    try:
        return RunFolder(host.workspace().find_run(run_id)).state().status
    except BridgeError:
        return "gone"
