"""LoRA Validate Grid: checkpoints x strengths against prompts x seeds, each beside the base model, as one labelled picture."""

from __future__ import annotations

import re
from typing import Any

from comfy_api.latest import io, ui

from ..kohya_bridge import json_text
from ..kohya_bridge.errors import FieldProblem, InvalidInput
from ..kohya_bridge.redaction import cleaned, named_secrets
from ..kohya_bridge.run_folder import RunFolder
from . import host
from .edge import plainly
from .sockets import RUN, RunName

NODE_ID = "WizdroidLoraValidateGrid"


class LoraValidateGridNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        from .rendering import sampler_names, scheduler_names

        return io.Schema(
            node_id=NODE_ID,
            display_name="LoRA Validate Grid",
            category="Wizdroid/Training",
            description="Renders a run's checkpoints beside the base model and keeps pictures, grid and manifest under validations/.",
            inputs=[
                RUN.Input("run", tooltip="The run whose checkpoints are judged."),
                io.Model.Input("model", tooltip="The base model without any LoRA of this run."),
                io.Clip.Input("clip", tooltip="The base model's CLIP."),
                io.Vae.Input("vae", tooltip="Decodes the pictures."),
                io.String.Input(
                    "prompts",
                    multiline=True,
                    tooltip="One prompt a line; each should hold the trigger. The builder's prompt fits here. Empty: captions of two "
                    "pictures that training never saw.",
                ),
                io.String.Input(
                    "negative",
                    multiline=True,
                    default="",
                    tooltip="What no picture should show; for all prompts.",
                ),
                io.String.Input(
                    "checkpoints",
                    default="best",
                    tooltip="Which checkpoints, with commas between: best, latest, all, or steps such as 200, 400.",
                ),
                io.String.Input(
                    "strengths",
                    default="1.0",
                    tooltip="LoRA strengths, with commas between. Strength 0, the base model alone, is always shown.",
                ),
                io.String.Input("seeds", default="1, 2", tooltip="Sampling seeds, with commas between."),
                io.Int.Input(
                    "width", default=512, min=64, max=4096, step=8, tooltip="Width of a picture in pixels."
                ),
                io.Int.Input(
                    "height", default=512, min=64, max=4096, step=8, tooltip="Height of a picture in pixels."
                ),
                io.Int.Input("steps", default=20, min=1, max=1000, tooltip="Sampling steps."),
                io.Float.Input(
                    "cfg",
                    default=7.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="How strongly the prompt steers.",
                ),
                io.Combo.Input(
                    "sampler", options=sampler_names(), default="euler", tooltip="As in KSampler."
                ),
                io.Combo.Input(
                    "scheduler", options=scheduler_names(), default="normal", tooltip="As in KSampler."
                ),
                io.Boolean.Input(
                    "trigger_off",
                    default=False,
                    tooltip="Adds rows without the trigger, to show whether the LoRA acts on prompts that don't ask for it.",
                ),
                io.String.Input(
                    "columns",
                    default="checkpoint, strength",
                    optional=True,
                    tooltip="What varies across the columns, of checkpoint, prompt, strength, seed; the last-named fastest. "
                    "The rest varies down the rows.",
                ),
            ],
            outputs=[
                io.Image.Output(id="grid", display_name="grid", tooltip="The labelled grid."),
                io.String.Output(
                    id="report", display_name="report", tooltip="What was measured, and the strength to use."
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    @plainly
    def execute(
        cls,
        run: RunName,
        model: Any,
        clip: Any,
        vae: Any,
        prompts: str,
        negative: str,
        checkpoints: str,
        strengths: str,
        seeds: str,
        trigger_off: bool,
        columns: str = "checkpoint, strength",
        **sampling: Any,
    ) -> io.NodeOutput:
        from ..kohya_bridge.validation.asked_grid import asked_grid
        from ..kohya_bridge.validation.judge import judge
        from ..kohya_bridge.validation.manifest import Sampling
        from .rendering import to_image

        folder = RunFolder(host.workspace().run_dir(run.slug, run.run_id))
        trained = folder.plan()
        grid = asked_grid(
            folder,
            checkpoints=checkpoints,
            prompts=tuple(line.strip() for line in prompts.splitlines() if line.strip()),
            negative=negative.strip(),
            strengths=_numbers("strengths", strengths, float),
            seeds=_numbers("seeds", seeds, int),
            trigger_off=trigger_off,
            columns=columns,
        )
        how = Sampling(**sampling, base_model=trained.base_model.name)
        pictures = _render_all(grid, folder, how, model, clip, vae)
        judged = judge(folder, grid, pictures, sampling=how, texts=_workflow_texts(cls.hidden))
        image = to_image([judged.saved.picture])
        shown = {**ui.PreviewImage(image, cls=cls).as_dict(), "text": (judged.report,)}
        return io.NodeOutput(image, judged.report, ui=shown)


def _numbers(field: str, text: str, kind: type) -> tuple[Any, ...]:
    words = re.findall(r"[^\s,;]+", text)
    try:
        return tuple(kind(word) for word in words)
    except ValueError:
        problem = FieldProblem(
            field, text, "it holds something that is not a number.", "Write numbers with commas between."
        )
        raise InvalidInput("The validation grid can't be laid out:", problems=[problem]) from None


def _render_all(grid: Any, run: RunFolder, how: Any, model: Any, clip: Any, vae: Any) -> dict[str, Any]:
    """Every picture of the grid by key; each LoRA is put on once, in the order that the grid gives."""
    from .loras import with_lora
    from .rendering import Sampling, encode, render

    sampling = Sampling(how.width, how.height, how.steps, how.cfg, how.sampler, how.scheduler)
    progress = host.NodeProgress(len(grid.renders))
    pictures: dict[str, Any] = {}
    worn: tuple[Any, Any, Any] = (None, model, clip)
    for number, each in enumerate(grid.renders, start=1):
        wanted = (each.checkpoint, each.strength)
        if worn[0] != wanted:
            worn = (wanted, model, clip)
            if each.checkpoint:
                file = run.weights_of(each.checkpoint.file)
                worn = (
                    wanted,
                    *with_lora(model, clip, file, strength_model=each.strength, strength_clip=each.strength)[
                        :2
                    ],
                )
        _, with_model, with_clip = worn
        pictures[each.key] = render(
            with_model,
            vae,
            positive=encode(with_clip, each.prompt.text),
            negative=encode(with_clip, each.prompt.negative),
            seed=each.seed,
            sampling=sampling,
        )
        progress.set(number, len(grid.renders))
    return pictures


def _workflow_texts(hidden: Any) -> dict[str, str]:
    """What ComfyUI puts into a PNG, so that dropping the picture on the canvas opens the graph that made it; without secrets."""
    told = {"prompt": hidden.prompt} if hidden.prompt else {}
    told |= hidden.extra_pnginfo or {}
    # The workflow holds the same values as the prompt, without their names.
    known = named_secrets(hidden.prompt or {})
    return {name: json_text.write(cleaned(value, known=known)) for name, value in told.items()}
