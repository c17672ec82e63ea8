"""Caption Export: pictures and captions become a dataset of the workspace, or add to one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from comfy_api.latest import io, ui

from ..kohya_bridge.captions import CaptionRow, plain_caption
from ..kohya_bridge.counted import counted
from ..kohya_bridge.dataset import Dataset, DatasetMetadata, export_pictures
from ..kohya_bridge.datasets.captioner_names import OLLAMA, local_captioners
from ..kohya_bridge.errors import BridgeError, InvalidInput
from ..kohya_bridge.trigger import ensure_first
from ..kohya_bridge.workspace import PACK_ROOT, check_slug
from . import host
from .edge import plainly
from .freshness import exported, folder_stamp
from .sockets import DATASET, DatasetName

NO_FOLDER = "(the wired images)"
SHIPPED, INPUT = "shipped/", "input/"
NOBODY = "nobody"
BUILDER = "WizdroidCharacterPromptBuilder"
_unanswered = [0]  # counts captioners that failed, so that the same inputs are tried again


class CaptionExportNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WizdroidCaptionExport",
            display_name="Caption Export",
            category="Wizdroid/Training",
            description="Writes pictures with captions into a dataset folder of the workspace. Nothing there is ever overwritten.",
            inputs=[
                io.String.Input(
                    "dataset_name",
                    default="char_alice",
                    tooltip="Folder name below kohya/datasets: lower-case letters, digits, '_' and '-'.",
                ),
                io.Image.Input("images", optional=True, tooltip="Pictures of one character, one or a batch."),
                io.Combo.Input(
                    "folder",
                    options=[NO_FOLDER, *source_folders()],
                    default=NO_FOLDER,
                    tooltip="Instead of wired images: a dataset that ships with the pack, or a folder below ComfyUI's "
                    "input folder with pictures and .txt captions (or captions.jsonl).",
                ),
                io.String.Input(
                    "captions",
                    multiline=True,
                    default="",
                    tooltip="One line for each picture, or one for all; the builder's caption fits here. A folder brings its own.",
                ),
                io.Combo.Input(
                    "mode",
                    options=["append", "replace"],
                    default="append",
                    tooltip="append: pictures that are there stay, equal ones are not added twice. "
                    "replace: the old pictures move to the workspace's trash.",
                ),
                io.String.Input(
                    "trigger",
                    default="",
                    tooltip="The plain token of the character; put first in every caption that lacks it.",
                ),
                io.String.Input(
                    "licence",
                    default="",
                    tooltip="Licence of the pictures, such as CC0-1.0. Needed before a LoRA of them can be packaged.",
                ),
                io.String.Input("source", default="", tooltip="Where the pictures come from, in a sentence."),
                io.Combo.Input(
                    "rating",
                    options=["sfw", "suggestive", "nsfw"],
                    default="sfw",
                    tooltip="The most permissive content that captions may have.",
                ),
                io.Boolean.Input(
                    "release_approved",
                    default=False,
                    tooltip="Whether a LoRA of these pictures may be given to others. Packaging asks for it.",
                ),
                io.Combo.Input(
                    "captioner",
                    options=[NOBODY, OLLAMA, *local_captioners(host.workspace())],
                    default=NOBODY,
                    optional=True,
                    tooltip="Who describes pictures that come without a caption: a vision model of a local Ollama, or a "
                    "folder in the workspace's captioners/ (BLIP, or a WD14 tagger). Captions that are there stay.",
                ),
                io.String.Input(
                    "ollama_model",
                    default="llava",
                    optional=True,
                    tooltip="With ollama: a vision model that it has.",
                ),
            ],
            outputs=[
                DATASET.Output(id="dataset", display_name="dataset", tooltip="For Dataset Lint."),
                io.String.Output(
                    id="report", display_name="report", tooltip="What stands in the dataset now."
                ),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(
        cls, dataset_name: str = "", folder: str = NO_FOLDER, captioner: str = NOBODY, **typed: Any
    ) -> Any:
        target = host.workspace().dataset_dir(dataset_name)
        source = folder_stamp(source_folder(folder)) if folder != NO_FOLDER else ""
        return [exported.fingerprint(target), source, _unanswered[0] if captioner != NOBODY else 0]

    @classmethod
    @plainly
    def execute(
        cls,
        dataset_name: str,
        folder: str,
        captions: str,
        mode: str,
        trigger: str,
        licence: str,
        source: str,
        rating: str,
        release_approved: bool,
        images: Any = None,
        captioner: str = NOBODY,
        ollama_model: str = "llava",
    ) -> io.NodeOutput:
        slug = check_slug(dataset_name.strip())
        typed = {
            "lora_tag": trigger.strip(),
            "licence": licence.strip(),
            "source": source.strip(),
            "rating": rating,
            "release_approved": release_approved,
        }
        described = captioner != NOBODY
        if folder != NO_FOLDER:
            dataset, remarks = _export_folder(slug, source_folder(folder), mode, typed, described)
        else:
            remarks = ""
            dataset = _export_images(slug, images, captions, mode, typed, described, _source_of(cls.hidden))
        exported.note(dataset.dir)
        note = ""
        if described:
            dataset, note = _described(dataset, captioner, ollama_model)
            exported.note(dataset.dir)
        report = "\n".join(part for part in (describe(dataset), remarks, note) if part)
        return io.NodeOutput(DatasetName(slug), report, ui=ui.PreviewText(report))


def source_folders() -> list[str]:
    """Folders that can be exported whole: the pack's own datasets, then those below ComfyUI's input folder."""
    shipped = PACK_ROOT / "training" / "kohya" / "datasets"
    return [
        *(f"{SHIPPED}{each.name}" for each in _folders(shipped) if (each / "images").is_dir()),
        *(f"{INPUT}{each.name}" for each in _folders(host.input_dir())),
    ]


def source_folder(name: str) -> Path:
    """The folder behind a name of `source_folders`. Raises InvalidInput for any other."""
    if name not in source_folders():
        raise InvalidInput(f"There is no folder {name!r} to export.", "Choose one from the list.")
    root = PACK_ROOT / "training" / "kohya" / "datasets" if name.startswith(SHIPPED) else host.input_dir()
    return root / name.partition("/")[2]


def describe(dataset: Dataset) -> str:
    captioned = sum(bool(item.caption) for item in dataset.items)
    trigger = f", trigger {dataset.trigger}" if dataset.trigger else ""
    return f"{dataset.slug}: {counted(len(dataset.items), 'picture')}, {captioned} with a caption{trigger}"


def _folders(parent: Path) -> list[Path]:
    if not parent.is_dir():
        return []
    return sorted(each for each in parent.iterdir() if each.is_dir() and not each.name.startswith("."))


def _source_of(hidden: Any) -> str:
    """Who wrote the captions of this node: the builder whose output is wired into it, or the person who typed (or wired) them."""
    prompt = hidden.prompt or {}
    wire = prompt.get(str(hidden.unique_id), {}).get("inputs", {}).get("captions")
    feeding = prompt.get(str(wire[0]), {}) if isinstance(wire, list) and wire else {}
    return "builder" if feeding.get("class_type") == BUILDER else "person"


def _export_images(
    slug: str, images: Any, captions: str, mode: str, typed: dict[str, Any], described: bool, source: str
) -> Dataset:
    from .rendering import to_picture

    if images is None:
        raise InvalidInput(
            "There is no picture to export.", "Wire an image into Caption Export, or choose a folder."
        )
    lines = [plain_caption(line) for line in captions.splitlines() if line.strip()] or [""]
    rows = [
        CaptionRow(
            "",
            "" if described and not line else ensure_first(line, typed["lora_tag"]),
            trigger=typed["lora_tag"],
            source=source if line or not described else "",
        )
        for line in lines
    ]
    pictures = [to_picture(each) for each in images]
    return export_pictures(
        host.workspace(), slug, pictures, rows, mode=mode, metadata=DatasetMetadata(**typed)
    )  # type: ignore[arg-type]


def _export_folder(
    slug: str, source: Path, mode: str, typed: dict[str, Any], described: bool
) -> tuple[Dataset, str]:
    """A folder's pictures and captions, and what import says of them; what is not typed on the node comes from the folder's own
    `metadata.yaml`."""
    from ..kohya_bridge.datasets.dataset_transfer import import_folder

    brought = import_folder(
        host.workspace(), source, slug, metadata=DatasetMetadata(**typed), mode=mode, caption_all=not described  # type: ignore[arg-type]
    )  # fmt: skip
    return brought.dataset, "\n".join(brought.remarks())


def _described(dataset: Dataset, captioner: str, ollama_model: str) -> tuple[Dataset, str]:
    """The dataset with its gaps described, and a sentence on it: also when nobody answers, because the export stands."""
    from ..kohya_bridge.datasets.auto_caption import caption_missing, captioner_named

    missing = sum(not item.caption.strip() for item in dataset.items)
    progress = host.NodeProgress(max(1, missing))
    stopped = False

    def should_stop() -> bool:
        nonlocal stopped
        stopped = stopped or host.take_interruption()
        return stopped

    try:
        model = captioner_named(host.workspace(), captioner, ollama_model=ollama_model)
        done = caption_missing(dataset, model, on_progress=progress.set, should_stop=should_stop)
    except BridgeError as error:
        _unanswered[0] += 1
        return dataset, f"{missing} not described: {error.problem} {error.fix}"
    if stopped:
        host.end_as_interrupted()
    notes = [f"{len(done.written)} described by {model.name}; read them before you train.", *done.notes]
    return done.dataset, "\n".join(notes) if missing else ""
