"""Dataset Lint: what is wrong with a dataset and what a trainer will see of it, in words and pictures; errors hold back
what follows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comfy_api.latest import io, ui

from ..kohya_bridge.architectures import ARCHITECTURES, architecture
from ..kohya_bridge.dataset import Dataset, find_dataset, list_datasets
from ..kohya_bridge.engine_names import FIRST_ENGINE, VIEWS
from ..kohya_bridge.errors import InvalidInput
from ..kohya_bridge.settings import TrainingSettings
from . import host
from .edge import plainly
from .freshness import LeftAs, exported
from .sockets import DATASET, SETTINGS, ChosenSettings, DatasetName
from .training_desk import desk

WIRED = "(the wired dataset)"
REPAIRS = {"off": "off", "list": "list", "mend": "mend", "undo the last": "undo"}
NO_VIEW = "off"
ANY_FAMILY = "(not decided)"
SHOWN_PICTURES = 120
_left = LeftAs()


class DatasetLintNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WizdroidDatasetLint",
            display_name="Dataset Lint",
            category="Wizdroid/Training",
            description="Checks pictures, captions, trigger and licence, mends what needs no judgement, and shows what a "
            "trainer will see. Errors hold back the training; warnings don't.",
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
                    tooltip="Shortest side in pixels that is advised; smaller pictures are named. Held back are those alone that are "
                    "smaller than the Kohya Train behind this node (or `resolution`) trains them.",
                ),
                io.Combo.Input(
                    "repair",
                    options=list(REPAIRS),
                    default="off",
                    optional=True,
                    tooltip="list: says what could be mended without a decision of yours. mend: does it, and keeps the "
                    "originals in the dataset's originals/ folder. undo the last: puts back what the newest repair of this machine changed.",
                ),
                io.String.Input(
                    "background",
                    default="#ffffff",
                    optional=True,
                    tooltip="With mend: the colour that is laid under transparent parts, as #RRGGBB.",
                ),
                io.Combo.Input(
                    "view",
                    options=[NO_VIEW, *VIEWS],
                    default=FIRST_ENGINE,
                    optional=True,
                    tooltip="Whose eyes to look through: bucket, crop, turn, transparency, and the caption as far as it is "
                    "read. sd-scripts: the same folder without this pack.",
                ),
                io.Int.Input(
                    "resolution",
                    default=0,
                    min=0,
                    max=4096,
                    step=8,
                    optional=True,
                    tooltip="Resolution that will be trained, in pixels: then buckets are checked too. 0: that of the Kohya Train "
                    "behind this node; where there is none, the view takes 512.",
                ),
                io.Boolean.Input(
                    "models",
                    default=False,
                    optional=True,
                    tooltip="Also asks models on this machine about nudity, written words and likeness. It takes about a "
                    "second for each new picture; the report says which model is not installed.",
                ),
                io.Combo.Input(
                    "family",
                    options=[ANY_FAMILY, *ARCHITECTURES],
                    default=ANY_FAMILY,
                    optional=True,
                    tooltip="The model family that will be trained: captions are counted by its own tokenizer, up to what it was "
                    "made for. Not decided: by CLIP's, as for Stable Diffusion.",
                ),
                SETTINGS.Input(
                    "settings",
                    optional=True,
                    tooltip="From Training Settings: shuffling, token limit and buckets as they will be trained.",
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
                io.Image.Output(
                    id="trainer_view",
                    display_name="trainer_view",
                    tooltip="Beside each picture the pixels that are trained, and its caption with the part that is cut "
                    "off in red.",
                ),
                io.String.Output(
                    id="trainer_table",
                    display_name="trainer_table",
                    tooltip="The same as a Markdown table, one row for each picture.",
                ),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, dataset_name: str = WIRED, **typed: Any) -> Any:
        return "" if dataset_name == WIRED else _left.fingerprint(host.workspace().dataset_dir(dataset_name))

    @classmethod
    @plainly
    def execute(
        cls,
        dataset_name: str,
        min_side: int,
        dataset: DatasetName | None = None,
        repair: str = "off",
        background: str = "#ffffff",
        view: str = NO_VIEW,
        resolution: int = 0,
        family: str = ANY_FAMILY,
        models: bool = False,
        settings: ChosenSettings | None = None,
    ) -> io.NodeOutput:
        from ..kohya_bridge.lint import Interrupted, LintSettings
        from ..kohya_bridge.lint.inspection import as_colour, inspect_dataset, training_at
        from ..kohya_bridge.lint.picture_models import find_models

        if dataset_name == WIRED and dataset is None:
            raise InvalidInput("Dataset Lint has no dataset.", "Wire one into it, or choose its name.")
        slug = dataset.slug if dataset_name == WIRED and dataset else dataset_name
        workspace = host.workspace()
        typed = settings.settings if settings else {}
        found = find_dataset(workspace, slug)
        progress = _Stages(len(found.items), stages=2 if view == NO_VIEW else 3)
        try:
            seen = inspect_dataset(
                found,
                repairing=REPAIRS[repair],  # type: ignore[arg-type]
                background=as_colour(background),
                engine=None if view == NO_VIEW else view,  # type: ignore[arg-type]
                settings=LintSettings(min_side=min_side),
                training=training_at(resolution, typed)
                if resolution
                else _of_the_training_behind(cls.hidden, found, typed),
                tokenizer_dir=host.tokenizer_dir(),
                of_family=None if family == ANY_FAMILY else architecture(family),
                cache_dir=workspace.cache_dir,
                models=find_models(workspace) if models else None,
                on_progress=progress.of(0),
                should_stop=host.take_interruption,
            )
            sheet, trained = _drawn(seen, view, progress)
        except Interrupted:
            host.end_as_interrupted()
        finally:
            if repair in ("mend", "undo the last"):
                _left.note(found.dir)
                exported.note(found.dir)
        return _shown(cls, slug, seen, sheet, trained)


def _of_the_training_behind(hidden: Any, dataset: Dataset, typed: dict[str, Any]) -> TrainingSettings | None:
    """The numbers of the training that this node feeds, so that what is let through here is let through there; of several the one
    with the highest resolution. With none, those of the wired settings, if there are any."""
    from ..kohya_bridge.lint.inspection import training_at
    from ..kohya_bridge.steering.preflight import numbers_for
    from .kohya_train_node import NODE_ID as TRAIN
    from .kohya_train_node import request_typed

    found = [
        numbers_for(request, desk().places, images=len(dataset.items))
        for node in (hidden.prompt or {}).values()
        if node.get("class_type") == TRAIN and str((node["inputs"].get("dataset") or [""])[0]) == str(hidden.unique_id)
        and (request := request_typed(dataset.slug, node["inputs"], typed))
    ]  # fmt: skip
    known = [each for each in found if each]
    return max(known, key=lambda each: each.resolution) if known else training_at(0, typed)


def _drawn(seen: Any, view: str, progress: _Stages) -> tuple[Any, Any]:
    """Contact sheet and trainer's view as IMAGE batches; the view is None where it was not asked for."""
    from ..kohya_bridge.datasets.trainer_sheet import trainer_sheet
    from ..kohya_bridge.lint import contact_sheet
    from .rendering import to_image

    sheet = to_image([contact_sheet(seen.dataset, seen.report, on_progress=progress.of(1))])
    if not seen.views:
        return sheet, None
    drawn = trainer_sheet(
        seen.dataset,
        seen.views,
        engine=view,  # type: ignore[arg-type]
        most=SHOWN_PICTURES,
        on_progress=progress.of(2),
    )
    return sheet, to_image([drawn])


def _shown(cls: Any, slug: str, seen: Any, sheet: Any, trained: Any) -> io.NodeOutput:
    from comfy_execution.graph import ExecutionBlocker

    previews = [ui.PreviewImage(each, cls=cls).as_dict() for each in (sheet, trained) if each is not None]
    images = [image for each in previews for image in each["images"]]
    text = seen.text()
    return io.NodeOutput(
        _held_back(seen.report) if seen.report.blocks else DatasetName(slug),
        text,
        sheet,
        ExecutionBlocker(None) if trained is None else trained,
        seen.table(),
        ui={"images": images, "animated": (False,), "text": (text,)},
    )


class _Stages:
    """One progress bar for several passes over the pictures; Cancel is heeded between two pictures of each."""

    def __init__(self, pictures: int, *, stages: int):
        self._pictures, self._stages = max(1, pictures), stages
        self._bar = host.NodeProgress(self._pictures * stages)

    def of(self, stage: int) -> Callable[[int, int], None]:
        def show(done: int, total: int) -> None:
            self._bar.set(
                self._pictures * stage + self._pictures * done // max(1, total), self._pictures * self._stages
            )
            if stage and host.take_interruption():
                host.end_as_interrupted()

        return show


def _held_back(report: Any) -> Any:
    """What stops the nodes behind with a message and without a traceback, while report and sheet are still shown."""
    from comfy_execution.graph import ExecutionBlocker

    from ..kohya_bridge.lint.report import how_to_waive

    shown = "\n".join(f"{each.subject}: {each.problem} {each.fix}" for each in report.errors[:10])
    more = f"\nand {len(report.errors) - 10} more" if len(report.errors) > 10 else ""
    return ExecutionBlocker(
        f"{report.headline()}\n{shown}{more}\n{how_to_waive(each.rule for each in report.errors)}"
    )
