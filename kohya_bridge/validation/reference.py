"""The pictures that a grid is compared with: those that were trained on, and those that were held out.

In: a run's plan and the workspace. Out: small copies of both, split as the engines split them. When the dataset is gone or
is not the one that was trained on, there is nothing to compare with, and the note says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from ..dataset import dataset_digest, read_dataset
from ..datasets.held_out_split import held_out_names
from ..datasets.pictures import opened
from ..errors import NotFound
from ..files import open_named
from ..plan import TrainingPlan
from ..workspace import Workspace

EDGE_PX = 256
"""Enough for every encoder here; a hundred pictures of full size would fill the memory."""
MOST_TRAINING = 300


@dataclass(frozen=True)
class Reference:
    """Pictures to compare with. `note` says what is missing, empty when nothing is."""

    training: tuple[Image.Image, ...] = ()
    held_out: tuple[Image.Image, ...] = ()
    note: str = ""


def reference_pictures(workspace: Workspace, plan: TrainingPlan) -> Reference:
    """Training and held-out pictures of a plan's dataset."""
    try:
        dataset = read_dataset(workspace.dataset_dir(plan.dataset.slug))
    except NotFound:
        return Reference(note=f"Dataset {plan.dataset.slug} is gone: no likeness was measured.")
    if dataset_digest(dataset, cache_dir=workspace.cache_dir) != plan.dataset.digest:
        return Reference(
            note=f"Dataset {plan.dataset.slug} has changed since the training: no likeness was measured."
        )
    names = [item.name for item in dataset.items]
    settings = plan.settings
    apart = held_out_names(names, share=settings.validation_split, seed=settings.validation_seed)
    trained = [item.file for item in dataset.items if item.name not in apart][:MOST_TRAINING]
    held_out = [item.file for item in dataset.items if item.name in apart]
    note = (
        "" if held_out else "No picture was held out of training: likeness to new pictures was not measured."
    )
    return Reference(_small(trained), _small(held_out), note)


def held_out_captions(workspace: Workspace, plan: TrainingPlan, *, most: int = 2) -> tuple[str, ...]:
    """Captions of held-out pictures: prompts that training never saw. None when the dataset is gone or held none out."""
    try:
        dataset = read_dataset(workspace.dataset_dir(plan.dataset.slug))
    except NotFound:
        return ()
    settings, names = plan.settings, [item.name for item in dataset.items]
    apart = held_out_names(names, share=settings.validation_split, seed=settings.validation_seed)
    captions = [item.caption for item in dataset.items if item.name in apart and item.caption.strip()]
    return tuple(dict.fromkeys(captions))[:most]


def _small(files: list[Path]) -> tuple[Image.Image, ...]:
    pictures = []
    for file in files:
        try:
            with open_named(file) as stream, opened(stream) as stored:
                stored.draft("RGB", (2 * EDGE_PX, 2 * EDGE_PX))
                picture = ImageOps.exif_transpose(stored).convert("RGBA")
        except OSError:
            continue  # training would have stopped at it; it was damaged since
        backed = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
        backed.thumbnail((EDGE_PX, EDGE_PX))
        pictures.append(backed)
    return tuple(pictures)
