"""Packaging: one checkpoint of a run becomes a LoRA that ComfyUI's loaders list, with its card and sidecars.

In: a run folder, which checkpoint, ComfyUI's loras folder. Out: a `LoraPackage`. The tensors are copied to the byte, the
metadata is rewritten in one pass, the name ends in the first digits of the finished file's SHA-256. The same inputs give
the same file; nothing is ever overwritten by something else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from PIL import Image
from pydantic import Field

from .. import json_text
from ..errors import InvalidInput
from ..files import Tree, write_atomically
from ..forbidding import Forbidding, parse
from ..names import FileName, Sha256
from ..run_folder import RunFolder
from ..validation.manifest import MOST_STEPS
from ..validation.pictures import open_picture
from ..workspace import Workspace
from .card import model_card
from .facts import PackageFacts, gather_facts
from .freezing import freeze_dataset, refuse_drift
from .header import Rewritten, rewrite_metadata, tensor_sha256
from .hub import write_civitai_zip, write_hub_folder
from .metadata import packaged_metadata
from .pictures import preview_png, thumbnail_data_url
from .scrub import scrub_text
from .sidecars import write_sidecars

CARD_NAME = "model-card.md"
RECORD_NAME = "package.json"


@dataclass(frozen=True)
class LoraPackage:
    """A packaged LoRA. `name` is what ComfyUI's LoRA list shows: relative to the loras folder, with `/`."""

    name: str
    file: Path
    sha256: str
    tensor_sha256: str
    card_file: Path
    sidecar_files: tuple[Path, ...]
    folder: Path
    """The package's own folder inside the run: card and record."""
    step: int
    left_out: tuple[str, ...] = ()
    """Metadata that had to be left out to keep the header below ComfyUI's limit."""

    @property
    def for_upload(self) -> tuple[Path, ...]:
        """What was made to be given away: the folder for Hugging Face, the zip for Civitai."""
        return tuple(
            each
            for each in sorted(self.folder.iterdir())
            if each.name == "huggingface" or each.suffix == ".zip"
        )

    def to_json(self) -> dict[str, object]:
        """For the experiment log: no paths."""
        return {
            "name": self.name,
            "sha256": self.sha256,
            "tensor_sha256": self.tensor_sha256,
            "step": self.step,
        }


def package_lora(
    run: RunFolder,
    which: str | int = "best",
    *,
    lora_dir: Path,
    workspace: Workspace | None = None,
    author: str = "",
    title: str = "",
    hub_base_model: str = "",
    published: bool = False,
    civitai_info: bool = False,
    hub_folder: bool = False,
    civitai_zip: bool = False,
    clock: Callable[[], float] = time.time,
) -> LoraPackage:
    """Package one checkpoint (`best`, `latest` or a step) into `lora_dir/<character>/`.

    `workspace` is the one that the run lies in, unless another is given. On request the package's folder in the run also
    gets `huggingface/` and a zip for Civitai, and the LoRA a `.civitai.info`. `published` freezes the dataset's version in
    its lock file, so that lint tells when it changes.

    Raises:
        NotFound: the run has no such checkpoint, or its dataset is gone.
        Refused: the dataset states no licence, source or approval (all listed), the weights are not finite, or the
            dataset of a LoRA to be published is not the one that it was trained on.
        Conflict: the checkpoint was changed after the run wrote it.
        StorageError: the disk is full or read-only.
    """
    workspace = workspace or Workspace.at(run.dir.parents[2])
    if published:
        refuse_drift(run.plan(), workspace)
    facts = gather_facts(
        run, workspace, which=which, author=author, title=title, hub_base_model=hub_base_model
    )
    sample = _open_sample(facts)
    metadata, left_out = packaged_metadata(
        facts,
        tensor_sha256=tensor_sha256(facts.header),
        thumbnail=thumbnail_data_url(sample) if sample else "",
    )
    folder = lora_dir / facts.plan.character
    written = rewrite_metadata(
        facts.header, folder, metadata, name=lambda sha256: f"{facts.stem_start}-{sha256[:8]}.safetensors"
    )
    sidecars = write_sidecars(
        facts,
        written,
        preview=preview_png(sample) if sample else None,
        civitai_info=civitai_info,
        now=clock(),
    )
    card_file, package_dir = _write_card(run, facts, written)
    if hub_folder:
        write_hub_folder(run.files, package_dir / "huggingface", facts, written)
    if civitai_zip:
        write_civitai_zip(run.files, package_dir / f"{written.file.stem}-civitai.zip", facts, written)
    package = LoraPackage(
        name=f"{facts.plan.character}/{written.file.name}",
        file=written.file,
        sha256=written.sha256,
        tensor_sha256=written.tensor_sha256,
        card_file=card_file,
        sidecar_files=sidecars,
        folder=package_dir,
        step=facts.step,
        left_out=tuple(left_out),
    )
    if published:
        freeze_dataset(facts.plan, workspace, name=package.name)
    _record(run, package, published=published)
    return package


class PackageRecord(Forbidding):
    """The content of `package.json`."""

    name: FileName
    """As ComfyUI's LoRA list shows it."""
    sha256: Sha256
    """Of the file."""
    tensor_sha256: Sha256
    """Of its tensors alone."""
    step: Annotated[int, Field(ge=0, le=MOST_STEPS)]
    """Optimizer step of the checkpoint."""
    published: bool = False
    """Whether it was ever given away."""


def packages_of(run: RunFolder) -> list[dict[str, object]]:
    """The records of everything that was packaged from `run`, by step."""
    found = [_read_record(run, folder) for folder in run.files.entries("package")]
    records = sorted((each for each in found if each), key=lambda record: record.step)
    return [record.model_dump() for record in records]


def _read_record(run: RunFolder, folder: Path) -> PackageRecord | None:
    """None where there is none, or a damaged one: the LoRA itself is untouched by that."""
    try:
        return read_record(run, folder)
    except (OSError, InvalidInput):
        return None


def read_record(run: RunFolder, folder: Path) -> PackageRecord:
    """The record of what was packaged into `folder`. Raises FileNotFoundError, UnusableFile, InvalidInput."""
    return parse(PackageRecord, run.files.read_json(folder / RECORD_NAME), what=RECORD_NAME)


def _record(run: RunFolder, package: LoraPackage, *, published: bool) -> None:
    """`package.json`. What was published once stays published."""
    before = _read_record(run, package.folder)
    was_published = before is not None and before.published
    record = {**package.to_json(), "published": published or was_published}
    run.files.write(package.folder / RECORD_NAME, json_text.write(record, indent=1) + "\n")


def _open_sample(facts: PackageFacts) -> Image.Image | None:
    if facts.sample_file is None or facts.validation_dir is None:
        return None
    try:
        return open_picture(Tree(facts.validation_dir), facts.sample_file)
    except OSError:
        return None


def _write_card(run: RunFolder, facts: PackageFacts, written: Rewritten) -> tuple[Path, Path]:
    """The card beside the LoRA, and the same in the run's package folder under its plain name."""
    text = model_card(
        facts, file_name=written.file.name, sha256=written.sha256, tensor_sha256=written.tensor_sha256
    )
    text = scrub_text(text)
    package_dir = run.dir / "package" / written.file.stem
    run.files.write(package_dir / CARD_NAME, text)
    card_file = written.file.with_name(f"{written.file.stem}.{CARD_NAME}")
    return write_atomically(card_file, text), package_dir
