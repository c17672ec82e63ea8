"""Which files of a folder that other tools made are the pictures to train on, and why the others are not.

In: a folder. Out: its layout: pictures in name order, what their folders ask for, and every other file with the reason why it is
passed over. Known are this program's own datasets, projects of kohya_ss (`img/10_zed person`, `reg/`, `model/`), folders
of numbered classes (`10_zed person`), and plain folders of pictures. Links that lead out are named and not followed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..files import Tree
from .dataset_folder import CAPTIONS_NAME, IMAGES_NAME, MASKS_NAME, ORIGINALS_NAME
from .dataset_metadata import METADATA_NAME
from .pictures import HEIF_SUFFIXES, reads_heif

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
KOHYA_FOLDER = re.compile(r"(\d{1,4})_(.+)")
MASK_ENDING = "-masklabel"  # OneTrainer's masks lie beside their pictures
KINDS_OF_FILES = {
    **dict.fromkeys((".psd", ".xcf", ".kra", ".clp", ".clip", ".svg", ".jxl", ".jp2", ".tga", ".dng", ".cr2", ".nef", ".exr"), "a picture format that is not read here: save it as PNG"),
    **dict.fromkeys(HEIF_SUFFIXES, "a phone's format: `pip install pillow-heif` lets it be read"),
    **dict.fromkeys((".mp4", ".mov", ".webm", ".mkv", ".avi"), "a film"),
    **dict.fromkeys((".npz", ".npy", ".pt", ".pth", ".ckpt"), "a trainer's cache or model"),
    ".safetensors": "a model or a trainer's cache",
    **dict.fromkeys((".zip", ".rar", ".7z", ".tar", ".gz"), "an archive: unpack it first"),
}  # fmt: skip
LINK_OUT = "a link that leads out of the folder; it was not followed"
REGULARISATION = "a regularisation picture of the project, none of the character"
OF_A_DATASET = {ORIGINALS_NAME: "kept aside by repairs", MASKS_NAME: "a mask; masks are not imported"}


@dataclass(frozen=True)
class Label:
    """What a numbered folder asks for: `10_zed person` is 10 repeats of `zed person`."""

    repeats: int
    text: str

    @property
    def concept(self) -> str:
        """The folder's first word: folders that share it show one concept."""
        return self.text.split()[0].lower() if self.text.split() else ""


@dataclass(frozen=True)
class Layout:
    """What a folder holds. `kind` is `dataset`, `kohya` or `folder`; `passed_over` has the path of each other file, relative, with the end of a
    sentence that says what it is; `texts` are files that may hold captions."""

    kind: str
    pictures: tuple[Path, ...]
    texts: tuple[Path, ...] = ()
    labels: Mapping[Path, Label] = field(default_factory=dict)
    passed_over: tuple[tuple[str, str], ...] = ()


def layout_of(tree: Tree, *, prefer: str = "") -> Layout:
    """The layout of the folder. Of several concepts in numbered folders the one whose name `prefer` names is taken, else the
    largest."""
    files, passed = _files(tree)
    pictures = [file for file in files if _is_picture(file)]
    labels = {
        folder: Label(int(match[1]), match[2])
        for folder in sorted({file.parent for file in pictures} | {tree.dir})
        if (match := KOHYA_FOLDER.fullmatch(folder.name))
    }
    kind, wanted, reasons = _wanted(tree, pictures, labels, prefer)
    for file in files:
        if file in wanted or _is_text(file):
            continue
        reason = reasons.get(file) or KINDS_OF_FILES.get(file.suffix.lower(), "not a picture and no captions")
        passed.append((file.relative_to(tree.dir).as_posix(), reason))
    texts = tuple(file for file in files if _is_text(file))
    return Layout(kind, tuple(wanted), texts, labels, tuple(sorted(passed)))


def _wanted(
    tree: Tree, pictures: list[Path], labels: dict[Path, Label], prefer: str
) -> tuple[str, list[Path], dict[Path, str]]:
    """The kind, the pictures that are taken, and why the others are not."""
    masks = {file: "a mask; masks are not imported" for file in pictures if file.stem.endswith(MASK_ENDING)}
    pictures = [file for file in pictures if file not in masks]
    is_own = any(tree.is_file(name) for name in (CAPTIONS_NAME, METADATA_NAME)) and tree.is_folder(
        IMAGES_NAME
    )
    if is_own:
        taken = [file for file in pictures if file.parent == tree.dir / IMAGES_NAME]
        why = {file: _beside(tree, file) for file in pictures if file not in set(taken)}
        return "dataset", taken, {**why, **masks}
    base = next(
        (each for each in (tree.dir / "img", tree.dir) if any(folder.parent == each for folder in labels)),
        None,
    )
    if base is None:
        return ("kohya" if tree.dir in labels else "folder"), pictures, masks
    return "kohya", *_of_one_concept(tree, base, pictures, labels, prefer, masks)


def _beside(tree: Tree, file: Path) -> str:
    first = file.relative_to(tree.dir).parts[0]
    return OF_A_DATASET.get(first, f"not in {IMAGES_NAME}/, where a dataset has its pictures")


def _of_one_concept(
    tree: Tree, base: Path, pictures: list[Path], labels: dict[Path, Label], prefer: str, why: dict[Path, str]
) -> tuple[list[Path], dict[Path, str]]:
    numbered = {folder: label for folder, label in labels.items() if folder.parent == base}
    sizes: dict[str, int] = {}
    for file in pictures:
        if file.parent in numbered:
            label = numbered[file.parent]
            sizes[label.concept] = sizes.get(label.concept, 0) + label.repeats
    named = [
        concept
        for concept in sizes
        if concept and concept in (prefer.lower(), prefer.lower().removeprefix("char_"))
    ]
    concept = named[0] if named else max(sorted(sizes), key=lambda each: sizes[each])
    taken, why = [], dict(why)
    for file in pictures:
        inside = file.relative_to(tree.dir)
        if file.parent in numbered and numbered[file.parent].concept == concept:
            taken.append(file)
        elif file.parent in numbered:
            why[file] = f"of another concept ({file.parent.name}): import that folder by itself"
        elif inside.parts[0].lower().startswith("reg"):
            why[file] = REGULARISATION
        else:
            why[file] = "beside the numbered folders, where sd-scripts does not look"
    return taken, why


def _files(tree: Tree) -> tuple[list[Path], list[tuple[str, str]]]:
    """Every plain file in name order, and what is none, hidden, or leads out."""
    found: list[Path] = []
    passed: list[tuple[str, str]] = []
    for root, dirs, files in os.walk(tree.dir):
        here = Path(root)
        for name in sorted(dirs):
            if not tree.is_folder(here / name):
                passed.append(((here / name).relative_to(tree.dir).as_posix(), LINK_OUT))
            elif name.startswith("."):
                passed.append(((here / name).relative_to(tree.dir).as_posix() + "/", "a hidden folder"))
        dirs[:] = sorted(name for name in dirs if not name.startswith(".") and tree.is_folder(here / name))
        for name in sorted(files):
            file = here / name
            shown = file.relative_to(tree.dir).as_posix()
            if name.startswith("."):
                passed.append((shown, "a hidden file"))
            elif not file.resolve().is_relative_to(tree.dir):
                passed.append((shown, LINK_OUT))
            elif tree.is_file(file):
                found.append(file)
            else:
                passed.append((shown, "no plain file"))
    return sorted(found), passed


def _is_picture(file: Path) -> bool:
    suffix = file.suffix.lower()
    return suffix in PICTURE_SUFFIXES or (suffix in HEIF_SUFFIXES and reads_heif())


def _is_text(file: Path) -> bool:
    return (
        file.suffix.lower() in (".txt", ".caption", ".cap", ".jsonl", ".json", ".csv", ".tsv")
        or file.name == METADATA_NAME
    )
