"""Before and after at a glance: the character's own pictures beside what base model and checkpoints draw.

In: a run whose pictures LoRA Validate Grid rendered. Out: one labelled picture, prompts and seeds in rows, training from left
to right.
"""

from __future__ import annotations

from PIL import Image, ImageOps

from kohya_bridge.run_folder import RunFolder
from kohya_bridge.validation.grid import compose_grid
from kohya_bridge.validation.manifest import CellRecord, read_manifest
from kohya_bridge.validation.reference import reference_pictures
from kohya_bridge.workspace import Workspace

SHOWN_SIDE = 192  # pixels: the base's pictures are small on today's screens


def before_and_after(workspace: Workspace, run: RunFolder) -> Image.Image:
    """The newest grid of the run, its first column the character as the artist drew it (pictures that were held out)."""
    folder = workspace.validation_dir(run.slug, run.run_id)
    manifest = read_manifest(folder / "validation_manifest.json")
    places = {key: address for address, key in manifest.grids[-1].cells.items()}
    cells = [each for each in manifest.cells if each.key in places and each.picture]
    steps = sorted({step_of(each) for each in cells})
    rows = sorted(
        {(each.prompt, each.seed) for each in cells}, key=lambda row: _first_row(row, cells, places)
    )
    own = reference_pictures(workspace, run.plan()).held_out
    by_place = {(each.prompt, each.seed, step_of(each)): each for each in cells}
    pictures: list[list[Image.Image | None]] = []
    for number, (prompt, seed) in enumerate(rows):
        made = [by_place.get((prompt, seed, step)) for step in steps]
        drawn = [_shown(Image.open(folder / each.picture.file)) if each and each.picture else None for each in made]  # fmt: skip
        own_picture = _shown(own[number % len(own)]) if own else None
        pictures.append([own_picture, *drawn])
    return compose_grid(
        pictures,
        rows=[f"{prompt}, seed {seed}" for prompt, seed in rows],
        columns=["the character", *(f"step {step}" if step else "base model" for step in steps)],
        title=f"{run.plan().character}: base model and LoRA, the same prompts and seeds",
    )


def _first_row(row: tuple[str, int], cells: list[CellRecord], places: dict[str, str]) -> int:
    """Where the grid itself has this prompt and seed; addresses are as in a spreadsheet."""
    return min(
        int(places[each.key].lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
        for each in cells
        if (each.prompt, each.seed) == row
    )


def step_of(cell: CellRecord) -> int:
    """The training step whose LoRA drew it, 0 for the base model alone."""
    return cell.lora.step if cell.lora else 0


def _shown(picture: Image.Image) -> Image.Image:
    """A square of that side; a tall picture loses background above the head."""
    return ImageOps.fit(
        picture.convert("RGB"), (SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.LANCZOS, centering=(0.5, 1.0)
    )
