"""Verbs about pictures: datasets, lint, import, export, diff, mark.

In: names of datasets, folders outside of the workspace. Out: reports, repaired or new datasets, versions.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ..architectures import ARCHITECTURES, architecture
from ..console import shown_as_json
from ..counted import counted
from ..dataset import DatasetMetadata, find_dataset, list_datasets
from ..datasets.auto_caption import Captioner, LocalModelCaptioner, OllamaCaptioner, caption_missing
from ..datasets.dataset_lock import Version, difference, read_lock, readable_lock, snapshot, take_version
from ..datasets.dataset_transfer import EXPORT_FORMATS, export_dataset, import_folder
from ..datasets.ollama import Ollama
from ..datasets.trainer_sheet import trainer_sheet
from ..datasets.trainer_view import COLUMNS, bucket_summary, view_rows
from ..engine_names import VIEWS
from ..errors import BridgeError, NotFound
from ..files import write_atomically
from ..lint import contact_sheet
from ..lint.inspection import Inspection, Repairing, as_colour, inspect_dataset, training_at
from ..lint.page import report_page
from ..lint.picture_models import find_models
from ..settings import TrainingSettings
from ..validation.pictures import png_bytes
from . import exit_codes
from .context import Context
from .parsing import Verbs

NEWEST = ""


def add(verbs: Verbs) -> None:
    verbs.add("datasets", list_all, "List the datasets with their pictures, triggers and versions.")
    lint = verbs.add(
        "lint", lint_a_dataset, "Check a dataset as training would: errors block, warnings don't."
    )
    lint.add_argument("dataset", help="name of the dataset")
    lint.add_argument("--trigger", default="", help="the trigger, instead of the one in metadata.yaml")
    lint.add_argument("--resolution", type=int, default=0, metavar="PX", help="check the buckets of a training at this resolution")  # fmt: skip
    lint.add_argument("--family", choices=ARCHITECTURES, metavar="FAMILY", help="count captions as this model family reads them (default: as CLIP does)")  # fmt: skip
    lint.add_argument("--view", choices=VIEWS, help="show what this trainer will see of each picture")
    lint.add_argument("--models", action="store_true", help="also let models of this machine look for nudity, written words and likeness")  # fmt: skip
    lint.add_argument("--html", metavar="FILE", help="write the report as one self-contained page")
    lint.add_argument("--sheet", metavar="FILE", help="write a contact sheet with the findings (with --view: the trainer's view) as PNG")  # fmt: skip
    lint.add_argument(
        "--fix", action="store_true", help="mend what needs no judgement; originals go to originals/"
    )
    lint.add_argument("--dry-run", action="store_true", help="with --fix: only list the repairs")
    lint.add_argument("--background", default="#ffffff", metavar="#RRGGBB", help="with --fix: the colour under transparent parts")  # fmt: skip
    lint.add_argument("--undo", nargs="?", const=NEWEST, metavar="STAMP", help="put back what the newest repair changed; one that was not done here is undone only when its folder below originals/ is named")  # fmt: skip
    auto = verbs.add("autocaption", describe_pictures, "Let a model on this machine caption pictures that have no caption.")  # fmt: skip
    auto.add_argument("dataset", help="name of the dataset")
    which = auto.add_mutually_exclusive_group(required=True)
    which.add_argument("--ollama", metavar="MODEL", help="a vision model that Ollama has, such as llava")
    which.add_argument("--model", metavar="FOLDER", help="a folder with BLIP, or with a WD14 tagger")
    auto.add_argument(
        "--host", default="", help="Ollama's address (default: $OLLAMA_HOST, else this machine)"
    )
    brought = verbs.add("import", import_a_folder, "Copy a folder of pictures with captions into a dataset.")
    brought.add_argument("dataset", help="name of the dataset")
    brought.add_argument("folder", help="kohya, Hugging Face, sd-scripts in_json, or pictures with .txt or .caption files")  # fmt: skip
    brought.add_argument("--trigger", default="", help="the plain token that stands in the captions")
    brought.add_argument("--licence", default="", help="SPDX id, or the terms in words")
    brought.add_argument("--source", default="", help="where the pictures come from")
    sent = verbs.add(
        "export", export_a_dataset, "Write a dataset into a new folder as another tool reads it."
    )
    sent.add_argument("dataset", help="name of the dataset")
    sent.add_argument("folder", help="a new or empty folder")
    sent.add_argument("--format", choices=EXPORT_FORMATS, default="flat", help="whose form (default: flat, with .txt files)")  # fmt: skip
    sent.add_argument("--repeats", type=int, default=1, help="for kohya's folder name (default: 1)")
    diff = verbs.add("diff", show_difference, "Say in what two datasets, or two versions of one, differ.")
    diff.add_argument(
        "old", help="NAME, NAME@trained, NAME@published, or NAME@ and the first digits of a digest"
    )
    diff.add_argument("new", help="likewise")
    mark = verbs.add("mark", mark_version, "Mark a dataset's present state as a version of its own.")
    mark.add_argument("dataset", help="name of the dataset")
    mark.add_argument("--name", default="", help="what the version is for")


def list_all(context: Context, arguments: argparse.Namespace) -> int:
    rows, problems = [], {}
    for slug in list_datasets(context.workspace):
        row, problem = _dataset_row(context, slug)
        rows.append(row)
        told = dict(zip(("dataset", "pictures", "trigger", "licence", "rating", "version"), row, strict=True))
        context.out.emit({**told, "problem": problem} if problem else told)
        if problem:
            problems[slug] = problem
    context.out.table(("dataset", "pictures", "trigger", "licence", "rating", "last version"), rows)
    for slug, problem in problems.items():
        context.out.say(f"{slug}: {problem}")
    return exit_codes.DONE


def _dataset_row(context: Context, slug: str) -> tuple[tuple[object, ...], str]:
    """A row of the list, and what is wrong with that dataset; the others have their turn."""
    try:
        dataset = find_dataset(context.workspace, slug)
        lock, problem = readable_lock(dataset.dir)
    except BridgeError as error:
        return (slug, 0, "", "", "", ""), error.problem
    latest, told = lock.latest(), dataset.metadata
    version = f"{latest.reason} {latest.name}".strip() if latest else ""
    return (slug, len(dataset.items), dataset.trigger, told.licence, told.rating, version), problem


def lint_a_dataset(context: Context, arguments: argparse.Namespace) -> int:
    training = training_at(arguments.resolution)
    found = _inspected(context, arguments, training)
    dataset, report, views = found.dataset, found.report, found.views
    for each in found.repairs:
        context.out.emit({"repair": each.__dict__})
    if context.out.as_json:
        print(shown_as_json(report.to_json()))
    context.out.say(found.text())
    if views:
        context.out.say()
        context.out.table(COLUMNS, view_rows(views))
        summary = bucket_summary(views, training or TrainingSettings())
        context.out.table(("bucket", "pictures", "batches"), summary)
    if arguments.html:
        write_atomically(
            Path(arguments.html).expanduser().resolve(), report_page(dataset, report, views=views)
        )
    if arguments.sheet:
        sheet = (
            trainer_sheet(dataset, views, engine=arguments.view) if views else contact_sheet(dataset, report)
        )
        write_atomically(Path(arguments.sheet).expanduser().resolve(), png_bytes(sheet))
    return exit_codes.NOT_WELL if report.blocks else exit_codes.DONE


def describe_pictures(context: Context, arguments: argparse.Namespace) -> int:
    dataset = find_dataset(context.workspace, arguments.dataset)
    captioner: Captioner
    if arguments.ollama:
        captioner = OllamaCaptioner(Ollama(arguments.ollama, arguments.host))
    else:
        captioner = LocalModelCaptioner(Path(arguments.model).expanduser().resolve())
    done = caption_missing(dataset, captioner)
    rows = {item.name: item.caption for item in done.dataset.items if item.name in done.written}
    context.out.emit({"captioned": rows, "notes": done.notes, "by": captioner.name})
    for name, caption in rows.items():
        context.out.say(f"{name}: {caption}")
    context.out.say(
        f"{counted(len(rows), 'picture')} captioned by {captioner.name}; read them before you train."
    )
    for note in done.notes:
        context.out.say(f"  {note}")
    return exit_codes.NOT_WELL if done.notes else exit_codes.DONE


def import_a_folder(context: Context, arguments: argparse.Namespace) -> int:
    given = DatasetMetadata(lora_tag=arguments.trigger, licence=arguments.licence, source=arguments.source)
    metadata = given if given != DatasetMetadata() else None
    brought = import_folder(context.workspace, Path(arguments.folder).expanduser().resolve(), arguments.dataset, metadata=metadata)  # fmt: skip
    context.out.emit({"dataset": brought.dataset.slug, "kind": brought.kind, "names": brought.names, "notes": brought.notes, "passed_over": dict(brought.passed_over), "repeats": brought.repeats})  # fmt: skip
    context.out.say(f"{brought.dataset.slug}: {counted(len(brought.names), 'picture')} from a folder ({brought.kind}); {len(brought.dataset.items)} in all.")  # fmt: skip
    for remark in brought.remarks():
        context.out.say(f"  {remark}")
    if brought.repeats > 1:
        context.out.say(
            f"  The folder asks for {counted(brought.repeats, 'repeat')}: set num_repeats to {brought.repeats}."
        )
    return exit_codes.DONE


def export_a_dataset(context: Context, arguments: argparse.Namespace) -> int:
    dataset = find_dataset(context.workspace, arguments.dataset)
    target = Path(arguments.folder).expanduser().resolve()
    written = export_dataset(dataset, target, format=arguments.format, repeats=arguments.repeats)
    context.out.emit({"written": [str(file) for file in written]})
    context.out.say(f"{counted(len(dataset.items), 'picture')}, {counted(len(written), 'file')} in {target}")
    return exit_codes.DONE


def show_difference(context: Context, arguments: argparse.Namespace) -> int:
    what = difference(_version(context, arguments.old), _version(context, arguments.new))
    context.out.emit(what.__dict__)
    context.out.say(what.text())
    return exit_codes.DONE


def mark_version(context: Context, arguments: argparse.Namespace) -> int:
    dataset = find_dataset(context.workspace, arguments.dataset)
    version = snapshot(dataset, reason="marked", name=arguments.name, cache_dir=context.workspace.cache_dir)
    take_version(dataset, version)
    context.out.emit({"digest": version.digest, "pictures": len(version.items)})
    context.out.say(
        f"{dataset.slug} is marked as version {version.digest[:12]} with {counted(len(version.items), 'picture')}."
    )
    return exit_codes.DONE


def _inspected(
    context: Context, arguments: argparse.Namespace, training: TrainingSettings | None
) -> Inspection:
    dataset = find_dataset(context.workspace, arguments.dataset)
    repairing: Repairing = "off"
    if arguments.fix:
        repairing = "list" if arguments.dry_run else "mend"
    elif arguments.undo is not None:
        repairing = "undo"
    columns = (TextColumn("reading pictures"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, console=context.out.console, transient=True, disable=not context.out.person
    ) as bar:
        task = bar.add_task("", total=len(dataset.items))
        return inspect_dataset(
            dataset,
            repairing=repairing,
            stamp=arguments.undo or NEWEST,
            background=as_colour(arguments.background),
            engine=arguments.view,
            trigger=arguments.trigger,
            training=training,
            tokenizer_dir=context.tokenizer_dir,
            of_family=architecture(arguments.family) if arguments.family else None,
            cache_dir=context.workspace.cache_dir,
            models=find_models(context.workspace) if arguments.models else None,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


def _version(context: Context, name: str) -> Version:
    slug, at, which = name.partition("@")
    dataset = find_dataset(context.workspace, slug)
    if not at:
        return snapshot(dataset, cache_dir=context.workspace.cache_dir)
    versions = read_lock(dataset.dir).versions
    known = [each for each in versions if each.reason == which or (which and each.digest.startswith(which)) or each.name == which]  # fmt: skip
    if not known:
        listed = ", ".join(f"{each.reason} {each.digest[:8]}" for each in versions) or "none"
        raise NotFound(f"{slug} has no version {which!r}.", f"Versions: {listed}.")
    return known[-1]
