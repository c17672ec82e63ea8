"""Dataset Lint: what is wrong with a dataset, in words and on a contact sheet; errors hold back what follows."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..kohya_bridge.dataset import find_dataset, list_datasets
from ..kohya_bridge.errors import InvalidInput
from . import host
from .edge import plainly
from .freshness import folder_stamp
from .sockets import DATASET, DatasetName

WIRED = "(the wired dataset)"


class DatasetLintNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WizdroidDatasetLint",
            display_name="Dataset Lint",
            category="Wizdroid/Training",
            description="Checks pictures, captions, trigger and licence. Errors hold back the training; warnings don't.",
            inputs=[
                DATASET.Input(
                    "dataset", optional=True, tooltip="From Caption Export. Not needed with a name."
                ),
                io.Combo.Input(
                    "dataset_name",
                    options=[WIRED, *list_datasets(host.workspace())],
                    default=WIRED,
                    tooltip="A dataset that is in the workspace already.",
                ),
                io.Int.Input(
                    "min_side",
                    default=768,
                    min=64,
                    max=8192,
                    tooltip="Shortest side in pixels that a picture must have.",
                ),
            ],
            outputs=[
                DATASET.Output(
                    id="dataset_out", display_name="dataset", tooltip="For Kohya Train; held back by errors."
                ),
                io.String.Output(id="report", display_name="report", tooltip="Every finding with its fix."),
                io.Image.Output(
                    id="contact_sheet",
                    display_name="contact_sheet",
                    tooltip="All pictures, with the findings drawn on them.",
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, dataset_name: str = WIRED, **typed: Any) -> str:
        return "" if dataset_name == WIRED else folder_stamp(host.workspace().dataset_dir(dataset_name))

    @classmethod
    @plainly
    def execute(cls, dataset_name: str, min_side: int, dataset: DatasetName | None = None) -> io.NodeOutput:
        from ..kohya_bridge.lint import LintSettings, contact_sheet, lint_dataset
        from .rendering import to_image

        if dataset_name == WIRED and dataset is None:
            raise InvalidInput("Dataset Lint has no dataset.", "Wire one into it, or choose its name.")
        slug = dataset.slug if dataset_name == WIRED and dataset else dataset_name
        found = find_dataset(host.workspace(), slug)
        progress = host.NodeProgress(len(found.items))
        report = lint_dataset(
            found,
            settings=LintSettings(min_side=min_side),
            cache_dir=host.workspace().cache_dir,
            on_progress=progress.set,
        )
        sheet = to_image([contact_sheet(found, report)])
        return io.NodeOutput(
            _held_back(report) if report.blocks else DatasetName(slug),
            report.text(),
            sheet,
            ui={**ui.PreviewImage(sheet, cls=cls).as_dict(), "text": (report.text(),)},
        )


def _held_back(report: Any) -> Any:
    """What stops the nodes behind with a message and without a traceback, while report and sheet are still shown."""
    from comfy_execution.graph import ExecutionBlocker

    shown = "\n".join(f"{each.subject}: {each.problem} {each.fix}" for each in report.errors[:10])
    more = f"\nand {len(report.errors) - 10} more" if len(report.errors) > 10 else ""
    return ExecutionBlocker(f"{report.headline()}\n{shown}{more}")
