"""Package LoRA: the chosen checkpoint goes into ComfyUI's loras folder under a name that says what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from comfy_api.latest import io, ui

from ..kohya_bridge.files import read_named
from . import host
from .edge import plainly
from .load_trained_lora_node import WHICH
from .sockets import LORA_NAME, RUN, RunName

_installed: dict[tuple[str, int], set[Path]] = {}


class PackageLoraNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WizdroidPackageLora",
            display_name="Package LoRA",
            category="Wizdroid/Training",
            description="Installs a run's checkpoint as a LoRA with model card. Refused without licence and release approval.",
            inputs=[
                RUN.Input("run", tooltip="The run to package."),
                io.Combo.Input("which", options=WHICH, default="best", tooltip="Which of its checkpoints."),
                io.Int.Input(
                    "step", default=0, min=0, max=10_000_000, tooltip="The step, when `which` is step."
                ),
                io.String.Input(
                    "author",
                    default="",
                    optional=True,
                    tooltip="Named in the file and on the card. Empty: nobody.",
                ),
                io.Boolean.Input(
                    "published",
                    default=False,
                    optional=True,
                    tooltip="Freeze the dataset's version: lint tells when it changes, and the run can't be deleted.",
                ),
                io.Boolean.Input(
                    "hub_folder",
                    default=False,
                    optional=True,
                    tooltip="Also make a folder that is a Hugging Face model repository. Nothing is uploaded.",
                ),
                io.Boolean.Input(
                    "civitai_zip",
                    default=False,
                    optional=True,
                    tooltip="Also make a zip with LoRA, pictures and what to type on Civitai. Nothing is uploaded.",
                ),
            ],
            outputs=[
                LORA_NAME.Output(
                    id="lora_name",
                    display_name="lora_name",
                    tooltip="Fits lora_name of the stock LoraLoader, and package of Load Trained LoRA.",
                ),
                io.String.Output(
                    id="model_card", display_name="model_card", tooltip="The text of model-card.md."
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, which: str = "", step: int = 0, **wired: Any) -> Any:
        """The same until a LoRA that this node installed is gone."""
        installed = _installed.get((which, step), set())
        return "" if all(file.is_file() for file in installed) else float("nan")

    @classmethod
    @plainly
    def execute(
        cls,
        run: RunName,
        which: str,
        step: int,
        author: str = "",
        published: bool = False,
        hub_folder: bool = False,
        civitai_zip: bool = False,
    ) -> io.NodeOutput:
        from ..kohya_bridge.package import package_lora
        from ..kohya_bridge.run_folder import RunFolder

        folder = RunFolder(host.workspace().run_dir(run.slug, run.run_id))
        packaged = package_lora(
            folder,
            step if which == "step" else which,
            lora_dir=host.model_dirs("loras")[0],
            author=author.strip(),
            published=published,
            hub_folder=hub_folder,
            civitai_zip=civitai_zip,
            civitai_info=civitai_zip,
        )
        _installed.setdefault((which, step), set()).add(packaged.file)
        made = [f"for others: {each}" for each in packaged.for_upload]
        text = "\n".join([packaged.name, f"model card: {packaged.card_file}", *made])
        return io.NodeOutput(
            packaged.name, read_named(packaged.card_file).decode("utf-8"), ui=ui.PreviewText(text)
        )
