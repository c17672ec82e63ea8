"""Staging: a dataset laid out as sd-scripts reads it, inside the run folder.

In: a plan, its pictures with captions, and the places of a rendering. Out: folders `train`, `held_out` and `probe` with
pictures and sidecar captions, and the rendered files. Pictures are linked, or copied where links fail; one that is turned by
its EXIF tag or transparent is written anew, upright and on white, because sd-scripts knows neither. Since every run has
its own staging folder, latents that upstream caches beside the pictures can never be another resolution's or VAE's.
"""

from __future__ import annotations

import os
import shutil
import time
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import disk, json_text
from ...datasets.held_out_split import held_out_names, probe_names
from ...errors import StorageError
from ...files import Tree, open_named
from ...plan import TrainingPlan
from ...reasons import reason_of
from .render import CAPTION_EXTENSION, Places, render_dataset, render_options, to_toml

KNOWN_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
ASIDE = "set_aside"
"""Where what somebody put among the staged pictures is moved."""
EXIF_ORIENTATION = 0x0112
SAMPLES = 2
SAMPLE_STEPS = 20


@dataclass(frozen=True)
class Picture:
    """One picture of a dataset: file name, file, caption."""

    name: str
    file: Path
    caption: str


@dataclass(frozen=True)
class Staged:
    """What was staged: how many pictures are trained, held out, and measured as a trained probe."""

    train: int
    held_out: int
    probe: int
    samples: tuple[dict[str, Any], ...]


def stage(plan: TrainingPlan, pictures: Sequence[Picture], places: Places) -> Staged:
    """Write everything that the trainer reads into the staging folder. What is there and right is kept.

    Raises:
        StorageError: a picture can't be read, or the disk is full.
    """
    settings = plan.settings
    names = [picture.name for picture in pictures]
    held_out = held_out_names(names, share=settings.validation_split, seed=settings.validation_seed)
    probe = set(probe_names(names, held_out, seed=settings.validation_seed))
    trained = [picture for picture in pictures if picture.name not in held_out]
    files = places.files
    _fill(files, places.train, trained)
    _fill(files, places.held_out, [picture for picture in pictures if picture.name in held_out])
    _fill(files, places.probe, [picture for picture in pictures if picture.name in probe])
    samples = _sample_prompts(plan, trained)
    files.write(places.sample_prompts, json_text.write(samples, indent=1, ensure_ascii=False))
    files.write(places.config, to_toml(render_options(plan, places)))
    files.write(places.dataset_config, to_toml(render_dataset(plan, places, held_out=len(held_out))))
    _make_real(files, places.output)
    return Staged(len(trained), len(held_out), len(probe), tuple(samples))


def _fill(files: Tree, folder: Path, pictures: Sequence[Picture]) -> None:
    """Make `folder` hold exactly these pictures and their captions; cached latents of theirs may stay."""
    _make_real(files, folder)
    wanted = dict(zip(_stems(pictures), pictures, strict=True))
    _clear(files, folder, wanted)
    for stem, picture in wanted.items():
        _place(files, picture.file, folder, stem)
        # One line: upstream takes the first line of a sidecar only.
        files.write(folder / f"{stem}{CAPTION_EXTENSION}", " ".join(picture.caption.split()) + "\n")


def _make_real(files: Tree, folder: Path) -> None:
    """The folder, made anew where something else has its name: all of staging can be written again."""
    for each in (folder.parent, folder):
        if not files.is_folder(each):
            files.clear(each)
    files.make(folder)


def _stems(pictures: Iterable[Picture]) -> list[str]:
    """A name without suffix for each picture. `a.png` and `a.jpg` would share a sidecar: such names get a number."""
    pictures = list(pictures)
    counts = Counter(Path(picture.name).stem.lower() for picture in pictures)
    return [
        Path(picture.name).stem
        if counts[Path(picture.name).stem.lower()] == 1
        else f"{Path(picture.name).stem}-{number:04d}"
        for number, picture in enumerate(pictures)
    ]


def _clear(files: Tree, folder: Path, wanted: dict[str, Picture]) -> None:
    """Put aside what does not belong, since upstream would train on it, and remove caches that a killed process left torn.

    A run is of one state of its dataset: whatever has another name was put there by somebody, and is theirs.
    """
    for each in files.entries(folder):
        is_cache = each.suffix == ".npz" and any(each.name.startswith(f"{stem}_") for stem in wanted)
        if disk.is_plain(os.lstat(each)) and (is_cache or each.stem in wanted):
            if is_cache and not zipfile.is_zipfile(each):
                files.clear(each)
            continue
        files.move(each, folder.parent / ASIDE / f"{folder.name}-{time.time_ns()}-{each.name}")


def _place(files: Tree, source: Path, folder: Path, stem: str) -> None:
    from PIL import Image, UnidentifiedImageError

    from ...datasets.pictures import opened

    try:
        with open_named(source) as stream, opened(stream) as picture:
            plain = source.suffix.lower() in KNOWN_SUFFIXES and not _needs_rewriting(picture)
            target = folder / f"{stem}{source.suffix.lower() if plain else '.png'}"
            if not plain:
                if not files.is_file(target):
                    _rewrite(picture, files, target)
                return
        if files.is_file(target) and _same(source, target):
            return
        files.clear(target)
        _link_or_copy(source, files, target)
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
        raise StorageError(
            f"The picture {source.name} can't be read: {reason_of(error)}.",
            "Replace or remove it; Dataset Lint finds such files.",
        ) from error
    except OSError as error:
        raise StorageError(
            f"The picture {source.name} can't be prepared for sd-scripts: {reason_of(error)}.",
            "Free disk space, or replace the picture if it is damaged.",
        ) from error


def _needs_rewriting(picture: Any) -> bool:
    turned = picture.getexif().get(EXIF_ORIENTATION, 1) != 1
    return turned or picture.mode not in ("RGB", "L") or "transparency" in picture.info


def _rewrite(picture: Any, files: Tree, target: Path) -> None:
    """Write a picture upright, as RGB, with white where it is transparent: as the native engine sees it."""
    from ...datasets.pictures import flattened, upright

    seen = flattened(upright(picture), background=(255, 255, 255))
    with files.writing(target, durable=False) as stream:
        seen.save(stream, format="PNG")


def _same(source: Path, target: Path) -> bool:
    one, other = source.stat(), target.stat()
    return (one.st_ino, one.st_dev) == (other.st_ino, other.st_dev) or (
        one.st_size == other.st_size and other.st_mtime >= one.st_mtime
    )


def _link_or_copy(source: Path, files: Tree, target: Path) -> None:
    """A hard link, or a copy across file systems. A symbolic link would follow later changes of the dataset."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        with open_named(source) as content, files.writing(target, durable=False) as stream:
            shutil.copyfileobj(content, stream)


def _sample_prompts(plan: TrainingPlan, pictures: Sequence[Picture]) -> list[dict[str, Any]]:
    """Prompts for pictures that a person asks for during training: the first captions, each with a fixed seed."""
    edge = max(64, plan.settings.resolution // 8 * 8)
    return [
        {
            "prompt": " ".join(picture.caption.split()),
            "negative_prompt": "",
            "width": edge,
            "height": edge,
            "sample_steps": SAMPLE_STEPS,
            "scale": 7.0,
            "seed": plan.settings.seed + number,
        }
        for number, picture in enumerate(pictures[:SAMPLES])
    ]
