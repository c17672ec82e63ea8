"""Load Trained LoRA: a run's checkpoint, or a packaged LoRA, onto MODEL and CLIP; never stale, never silently unfit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from comfy_api.latest import io, ui

from ..kohya_bridge.errors import InvalidInput, NotFound
from ..kohya_bridge.run_folder import RunFolder
from . import host
from .edge import plainly
from .loras import with_lora
from .sockets import RUN, RunName

FROM_RUN = "(the run's checkpoint)"
WHICH = ["best", "latest", "step"]


class LoadTrainedLoraNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WizdroidLoadTrainedLora",
            display_name="Load Trained LoRA",
            category="Wizdroid/Training",
            description="Puts a trained LoRA on MODEL and CLIP. Unlike the stock loader it reads the file anew when its content changed.",
            inputs=[
                io.Model.Input(
                    "model", tooltip="The base model, of the family that the LoRA was trained for."
                ),
                io.Clip.Input("clip", tooltip="The base model's CLIP."),
                RUN.Input(
                    "run",
                    optional=True,
                    tooltip="The run whose checkpoint to load. Not needed with a package.",
                ),
                io.Combo.Input(
                    "package",
                    options=[FROM_RUN, *host.model_names("loras")],
                    default=FROM_RUN,
                    tooltip="A LoRA from ComfyUI's list (Package LoRA's output fits here); it goes before the run.",
                ),
                io.Combo.Input(
                    "which", options=WHICH, default="best", tooltip="Which of the run's checkpoints to load."
                ),
                io.Int.Input(
                    "step", default=0, min=0, max=10_000_000, tooltip="The step, when `which` is step."
                ),
                io.Float.Input(
                    "strength_model",
                    default=1.0,
                    min=-20.0,
                    max=20.0,
                    step=0.01,
                    tooltip="How strongly the LoRA changes the model; 0 leaves it exactly as it is.",
                ),
                io.Float.Input(
                    "strength_clip",
                    default=1.0,
                    min=-20.0,
                    max=20.0,
                    step=0.01,
                    tooltip="How strongly the LoRA changes CLIP; counts only when its text encoder was trained.",
                ),
            ],
            outputs=[
                io.Model.Output(id="MODEL", display_name="MODEL", tooltip="The model with the LoRA on it."),
                io.Clip.Output(id="CLIP", display_name="CLIP", tooltip="CLIP with the LoRA on it."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, package: str = FROM_RUN, **chosen: Any) -> str:
        """A package by size and time of its file. A run's checkpoints carry their hash in their name."""
        file = host.model_file("loras", package) if package and package != FROM_RUN else None
        if file is None:
            return ""
        stat = file.stat()
        return f"{stat.st_size} {stat.st_mtime_ns}"

    @classmethod
    @plainly
    def execute(
        cls,
        model: Any,
        clip: Any,
        package: str,
        which: str,
        step: int,
        strength_model: float,
        strength_clip: float,
        run: RunName | None = None,
    ) -> io.NodeOutput:
        file = _package_file(package) if package != FROM_RUN else _checkpoint_file(run, which, step)
        *patched, note = with_lora(
            model, clip, file, strength_model=strength_model, strength_clip=strength_clip
        )
        return io.NodeOutput(*patched, ui=ui.PreviewText(note) if note else None)


def _package_file(name: str) -> Path:
    file = host.model_file("loras", name)
    if file is None:
        raise NotFound(f"There is no LoRA {name!r} in ComfyUI's loras folders.", "Choose one from the list.")
    return file


def _checkpoint_file(run: RunName | None, which: str, step: int) -> Path:
    if run is None:
        raise InvalidInput(
            "Load Trained LoRA has neither a run nor a package.", "Wire a run into it, or choose a package."
        )
    folder = RunFolder(host.workspace().run_dir(run.slug, run.run_id))
    return folder.weights_of(folder.checkpoint(step if which == "step" else which)["file"])
