"""Ready-made folders for publishing: a Hugging Face model repository, and a zip for an upload to Civitai by hand.

In: `PackageFacts` and the finished LoRA. Out: a folder with a card that the hub accepts, and a zip whose bytes depend on
its content alone. Nothing is uploaded; no key is asked for. What was written is read back and checked.
"""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .. import json_text
from ..datasets.licences import LICENCES
from ..errors import InvalidInput, StorageError
from ..files import Tree, open_named
from ..forbidding import parse_yaml
from ..reasons import reason_of
from ..validation.manifest import CellRecord
from .card import model_card
from .facts import PackageFacts
from .header import Rewritten
from .markdown import prose
from .metadata import tags, usage_hint
from .pictures import preview_bytes
from .scrub import scrub_text

HUB_MODEL = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
MOST_PICTURES = 8
ZIP_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class ShownPicture:
    """A rendered cell that may be shown with the LoRA. `file` lies in the run's validation folder."""

    file: Path
    cell: CellRecord

    @property
    def name(self) -> str:
        step = self.cell.lora.step if self.cell.lora else 0
        return f"step{step}_s{self.cell.strength:g}_seed{self.cell.seed}_{self.cell.key[:6]}.png"


def shown_pictures(facts: PackageFacts) -> list[ShownPicture]:
    """Up to eight rendered pictures of this LoRA, those nearest to the recommended strength first."""
    if facts.validation_dir is None:
        return []
    rendered = Tree(facts.validation_dir)
    there = [
        ShownPicture(rendered.plain(cell.picture.file), cell)
        for cell in facts.cells
        if cell.picture and not cell.trigger_off and rendered.is_file(cell.picture.file)
    ]
    there.sort(key=lambda each: abs(each.cell.strength - facts.strength.strength))
    return there[:MOST_PICTURES]


def write_hub_folder(files: Tree, folder: Path, facts: PackageFacts, written: Rewritten) -> Path:
    """A folder that can be pushed to the Hugging Face hub as it is: README.md, the LoRA, `images/`. It lies in the run `files`.

    Raises:
        InvalidInput: `hub_base_model` is not of the form `owner/name`.
        StorageError: the disk is full, or what was written does not read back as a valid card.
    """
    if facts.hub_base_model and not HUB_MODEL.fullmatch(facts.hub_base_model):
        raise InvalidInput(
            f"{facts.hub_base_model!r} is not the id of a model on Hugging Face.",
            "Write owner/name, or leave it empty.",
        )
    pictures = shown_pictures(facts)
    _put(written.file, files, folder / written.file.name)
    for each in pictures:
        files.write(folder / "images" / each.name, preview_bytes(each.file))
    readme = files.write(folder / "README.md", hub_card(facts, written, pictures))
    wrong = hub_card_problems(readme)
    if wrong:
        raise StorageError("The hub's card is not valid: " + " ".join(wrong), "Package again.")
    return folder


def hub_card(facts: PackageFacts, written: Rewritten, pictures: list[ShownPicture]) -> str:
    """README.md: front matter, gallery, then the model card."""
    licence = facts.release.licence
    front: dict[str, Any] = {"license": licence.hub}
    if licence.hub == "other":
        front["license_name"] = re.sub(r"[^a-z0-9.]+", "-", licence.identifier.lower()).strip("-")
        front |= {"license_link": licence.url} if licence.url else {}
    front |= {"library_name": "diffusers", "pipeline_tag": "text-to-image"}
    if facts.hub_base_model:
        front |= {"base_model": facts.hub_base_model, "base_model_relation": "adapter"}
    if facts.trigger:
        front["instance_prompt"] = facts.trigger
    front["tags"] = ["text-to-image", "lora", "diffusers", "template:sd-lora", facts.family.names.hub_tag]
    if pictures:
        front["widget"] = [
            {"text": each.cell.prompt, "output": {"url": f"images/{each.name}"}} for each in pictures
        ]
    body = model_card(
        facts, file_name=written.file.name, sha256=written.sha256, tensor_sha256=written.tensor_sha256
    )
    gallery = "<Gallery />\n\n" if pictures else ""
    matter = yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=100)
    return scrub_text(f"---\n{matter}---\n\n{gallery}{body}")


def hub_card_problems(readme: Path) -> list[str]:
    """What the hub would not take of a card: front matter that is no YAML, an unknown licence id, missing pictures."""
    text = Tree(readme.parent).read_text(readme)
    parts = text.split("---\n", 2)
    if len(parts) < 3 or parts[0]:
        return ["There is no front matter."]
    front = parse_yaml(parts[1], what=readme.name)
    if not isinstance(front, dict):
        return ["The front matter is not a mapping of names to values."]
    wrong = []
    known = {licence.hub for licence in LICENCES.values()} | {"other"}
    if front.get("license") not in known:
        wrong.append(f"The hub knows no licence {front.get('license')!r}.")
    if front.get("license") == "other" and not front.get("license_name"):
        wrong.append("license_name is missing.")
    if "base_model" in front and not HUB_MODEL.fullmatch(str(front["base_model"])):
        wrong.append("base_model is not the id of a model.")
    for each in front.get("widget", []):
        if not Tree(readme.parent).is_file(each["output"]["url"]):
            wrong.append(f"{each['output']['url']} is missing.")
    return wrong


def write_civitai_zip(files: Tree, file: Path, facts: PackageFacts, written: Rewritten) -> Path:
    """A zip with the LoRA, pictures that carry their generation data, and what to type into Civitai's form."""
    temporary = file.with_name(f".{file.name}.tmp")
    try:
        with files.create(temporary) as whole, zipfile.ZipFile(whole, "w") as archive:
            _add(
                archive,
                "upload.json",
                json_text.write(_civitai_form(facts, written), indent=2, ensure_ascii=False).encode(),
            )
            _add(archive, "description.md", _civitai_description(facts).encode())
            for each in shown_pictures(facts):
                _add(archive, f"images/{each.name}", preview_bytes(each.file))
            information = zipfile.ZipInfo(written.file.name, ZIP_TIME)
            with (
                archive.open(information, "w", force_zip64=True) as target,
                open_named(written.file) as source,
            ):
                shutil.copyfileobj(source, target, 1 << 22)
        with files.open(temporary) as whole, zipfile.ZipFile(whole) as archive:
            damaged = archive.testzip()
        if damaged:
            raise StorageError(f"{file.name} was not written whole: {damaged} is damaged.", "Package again.")
        files.move(temporary, file)
    except OSError as error:
        raise StorageError(
            f"{file.name} could not be written: {reason_of(error)}.",
            "Free disk space; nothing was changed.",
        ) from error
    finally:
        files.remove(temporary)
    return file


def _civitai_form(facts: PackageFacts, written: Rewritten) -> dict[str, Any]:
    return {
        "name": facts.title,
        "type": "LORA",
        "baseModel": facts.family.names.civitai,
        "trainedWords": [facts.trigger] if facts.trigger else [],
        "tags": tags(facts),
        "steps": facts.step,
        "usageTips": {"strength": facts.strength.strength, "hint": usage_hint(facts)},
        "licence": facts.release.licence.text,
        "file": {
            "name": written.file.name,
            "SHA256": written.sha256.upper(),
            "AutoV2": written.sha256[:10].upper(),
        },
    }


def _civitai_description(facts: PackageFacts) -> str:
    lines = [
        facts.release.description,
        usage_hint(facts),
        f"Licence: {facts.release.licence.text}.",
        f"Data: {facts.release.source}",
    ]
    return scrub_text("\n\n".join(prose(line) for line in lines if line) + "\n")


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    information = zipfile.ZipInfo(name, ZIP_TIME)
    information.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(information, data)


def _put(source: Path, files: Tree, target: Path) -> None:
    """A hard link where the file system allows it (a LoRA may have 200 MB), else a copy."""
    if files.is_file(target):
        return
    files.make(target.parent)
    files.clear(target)
    try:
        os.link(source, target)
    except OSError:
        with open_named(source) as content, files.writing(target) as stream:
            shutil.copyfileobj(content, stream, 1 << 22)
