"""Training Run: opens a run of the workspace by its name, finished or not."""

from __future__ import annotations

from comfy_api.latest import io

from ..kohya_bridge.counted import counted
from ..kohya_bridge.errors import NotFound
from ..kohya_bridge.run_folder import RunFolder
from ..kohya_bridge.run_state import RunState
from ..kohya_bridge.runs.choices import read_choices
from . import host
from .edge import plainly
from .sockets import RUN, RunName

NODE_ID = "WizdroidTrainingRun"
NO_RUN = "(no run yet)"


def run_outputs() -> list[io.Output]:
    """The outputs of every node that gives a run, in the order in which held-back wires count them."""
    return [
        RUN.Output(
            id="run",
            display_name="run",
            tooltip="For LoRA Validate Grid, Package LoRA and Load Trained LoRA.",
        ),
        io.String.Output(
            id="run_id", display_name="run_id", tooltip="The run's id, as the panel and the shell show it."
        ),
        io.String.Output(id="report", display_name="report", tooltip="How the run stands, in words."),
    ]


class TrainingRunNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=NODE_ID,
            display_name="Training Run",
            category="Wizdroid/Training",
            description="Opens a run by name, so that it can be judged, packaged and loaded without training again.",
            inputs=[
                io.Combo.Input(
                    "run_name",
                    options=run_names() or [NO_RUN],
                    tooltip="Dataset and id of the run; the newest stands first.",
                )
            ],
            outputs=run_outputs(),
        )

    @classmethod
    def fingerprint_inputs(cls, run_name: str) -> str:
        return f"{run_name} {open_run(run_name).told_bytes}"

    @classmethod
    @plainly
    def execute(cls, run_name: str) -> io.NodeOutput:
        run = open_run(run_name)
        return io.NodeOutput(RunName(run.run_id, run.slug), run.run_id, describe(run))


def run_label(run: RunFolder) -> str:
    return f"{run.slug}/{run.run_id}"


def run_names() -> list[str]:
    """Labels of all runs, the one that was changed last first."""
    runs = [RunFolder(each) for each in host.workspace().run_dirs()]
    return [run_label(each) for each in sorted(runs, key=lambda run: -run.planned)]


def open_run(run_name: str) -> RunFolder:
    """The run behind a label. Raises NotFound."""
    if run_name == NO_RUN:
        raise NotFound("There is no run yet.", "Train one with Kohya Train.")
    return RunFolder(host.workspace().find_run(run_name.rpartition("/")[2]))


def describe(run: RunFolder) -> str:
    """A run in a few lines of plain words."""
    state, plan = run.state(), run.plan()
    lines = [
        f"{plan.character}: {state.status}, step {state.step} of {state.total or plan.settings.max_train_steps}",
        f"run {run.run_id}, {plan.engine} engine, dataset {plan.dataset.slug} ({counted(plan.dataset.images, 'picture')}), "
        f"base {plan.base_model.name}",
    ]
    lines += read_choices(run).facts(is_over=state.is_finished)
    if state.validations:
        first, last = state.validations[0], state.validations[-1]
        lines.append(
            f"held-out loss {_number(first['loss'])} at step {first['step']}, {_number(last['loss'])} at step {last['step']}"
        )
    if state.best:
        lines.append(f"best checkpoint: step {state.best['step']} ({state.best['reason']})")
    lines += [text for text in (state.problem, state.fix) if text]
    return "\n".join(lines)


def what_it_does(state: RunState) -> str:
    """What a run does at this moment, in a line."""
    if state.status == "queued":
        return f"in line for the GPU, position {state.queue_position}" if state.queue_position else "starting"
    if state.status == "lent":
        return f"step {state.step} of {state.total}, its GPU is lent to a prompt"
    if state.phase_done is not None:
        return f"{state.phase}, {state.phase_done} of {state.phase_total}"
    if state.status != "training" or state.loss_ema is None:
        return state.status
    left = f", {round(state.eta_s / 60)} min left" if state.eta_s and state.eta_s > 90 else ""
    return f"step {state.step} of {state.total}, loss {_number(state.loss_ema)}{left}"


def _number(value: float | str) -> str:
    """A loss with four digits; one that is no number comes as the word that the event holds (`nan`)."""
    return value if isinstance(value, str) else f"{value:.4f}"
