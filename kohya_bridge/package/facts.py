"""Everything that a package says about its LoRA, gathered once and true to the run's own files.

In: a run folder, the workspace, and which checkpoint. Out: one frozen `PackageFacts` from which the file's metadata, the
card and every sidecar are written. Nothing is estimated: what was not measured is None.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..architectures import architecture
from ..architectures.base import Architecture
from ..datasets.held_out_split import held_out_names
from ..errors import Conflict, InvalidInput, Refused
from ..files import Tree
from ..models.lora_facts import check_lora, read_lora_facts
from ..models.safetensors_header import SafetensorsHeader, read_header
from ..plan import TrainingPlan
from ..run_folder import RunFolder
from ..validation.manifest import MANIFEST_NAME, CellRecord, Manifest, readable_manifest, strength_advice
from ..validation.strength import StrengthAdvice
from ..workspace import Workspace, file_sha256
from .release import ReleaseFacts, read_release
from .scrub import machine_names, scrub_json

NOT_MEASURED = StrengthAdvice(
    1.0,
    1.0,
    1.0,
    "No validation grid was rendered for this checkpoint; 1.0 is the strength it was trained at.",
    measured=False,
)


@dataclass(frozen=True)
class PackageFacts:
    """What is known about one checkpoint of one run."""

    plan: TrainingPlan
    run_id: str
    family: Architecture
    step: int
    checkpoint_file: Path
    checkpoint_sha256: str
    header: SafetensorsHeader
    kind: str
    """LoRA, DoRA, LoKr and so on (`models.lora_kinds`)."""
    made: datetime
    release: ReleaseFacts
    author: str
    title: str
    trigger: str
    strength: StrengthAdvice
    best_reason: str
    validation: dict[str, Any] | None
    """The run's `validation` row at this step: held-out loss, its interval, PSNR, number of pictures."""
    held_out_images: int
    seconds_per_step: float | None
    duration_s: float | None
    environment: dict[str, Any]
    grid_file: Path | None
    sample: CellRecord | None
    cells: tuple[CellRecord, ...]
    """Every rendered picture of this LoRA."""
    validation_dir: Path | None
    hub_base_model: str = ""
    """Hugging Face id of the base model, such as `org/name`; a local file name is no id."""

    @property
    def sample_file(self) -> Path | None:
        if self.sample is None or self.sample.picture is None or self.validation_dir is None:
            return None
        return self.validation_dir / self.sample.picture.file

    @property
    def stem_start(self) -> str:
        return f"{self.plan.character}-s{self.step:08d}"


def gather_facts(
    run: RunFolder,
    workspace: Workspace,
    *,
    which: str | int = "best",
    author: str = "",
    title: str = "",
    hub_base_model: str = "",
) -> PackageFacts:
    """The facts about one checkpoint.

    Raises:
        NotFound: no such run, checkpoint or dataset.
        Refused: the dataset allows no release, or the checkpoint's weights are incomplete or not finite.
        Conflict: the checkpoint file is not the one that the run wrote.
    """
    plan = run.plan()
    state = run.state()
    row = run.checkpoint(which)
    release = read_release(workspace.dataset_dir(plan.dataset.slug))
    file = run.weights_of(row["file"])
    header = _checked_checkpoint(file, row)
    step = int(row["step"])
    validation = next((each for each in state.validations if each["step"] == step), None)
    manifest, folder = _manifest(workspace, run)
    advice = strength_advice(manifest, row["sha256"]) if manifest else None
    strength = StrengthAdvice(**advice) if advice else NOT_MEASURED
    cells = _cells(manifest, row["sha256"])
    finished = state.finished if state.finished is not None else state.updated
    return PackageFacts(
        plan=plan,
        run_id=run.run_id,
        family=architecture(plan.base_model.family),
        step=step,
        checkpoint_file=file,
        checkpoint_sha256=row["sha256"],
        header=header,
        kind=read_lora_facts(file).kind,
        made=datetime.fromtimestamp(float(row["time"]), timezone.utc),
        release=release,
        author=author,
        title=title or plan.character,
        trigger=plan.dataset.trigger,
        strength=strength,
        best_reason=_best_reason(state.best, row),
        validation=validation,
        held_out_images=_held_out(plan),
        seconds_per_step=state.seconds_per_step,
        duration_s=finished - state.started if finished and state.started else None,
        environment=_environment(run),
        grid_file=_grid(manifest, folder, step),
        sample=min(cells, key=lambda cell: abs(cell.strength - strength.strength), default=None),
        cells=cells,
        validation_dir=folder if manifest else None,
        hub_base_model=hub_base_model,
    )


def _checked_checkpoint(file: Path, row: dict[str, Any]) -> SafetensorsHeader:
    if file_sha256(file) != row["sha256"]:
        raise Conflict(
            f"{file.name} is not the file that the run wrote: its SHA-256 differs from the one recorded.",
            "Choose another checkpoint, or resume the run to make it again.",
        )
    wrong = check_lora(file)
    if wrong:
        raise Refused(
            " ".join(wrong),
            "Choose an earlier checkpoint; if its numbers are not finite, lower the learning rate next time.",
        )
    return read_header(file)


def _best_reason(best: dict[str, Any] | None, row: dict[str, Any]) -> str:
    if best and best.get("file") == row["file"]:
        return str(best.get("reason", ""))
    return ""


def _held_out(plan: TrainingPlan) -> int:
    names = [str(index) for index in range(plan.dataset.images)]
    return len(
        held_out_names(names, share=plan.settings.validation_split, seed=plan.settings.validation_seed)
    )


def _environment(run: RunFolder) -> dict[str, Any]:
    return dict(scrub_json(run.environment(), names=machine_names()))


def _manifest(workspace: Workspace, run: RunFolder) -> tuple[Manifest | None, Path]:
    folder = workspace.validation_dir(run.slug, run.run_id)
    file = folder / MANIFEST_NAME
    try:
        return readable_manifest(file)[0], folder
    except FileNotFoundError:
        return None, folder
    except InvalidInput:
        return (
            None,
            folder,
        )  # a damaged manifest must not keep a LoRA from being packaged; validate reports it


def _cells(manifest: Manifest | None, sha256: str) -> tuple[CellRecord, ...]:
    return tuple(
        cell
        for cell in (manifest.cells if manifest else [])
        if cell.lora
        and cell.lora.sha256 == sha256
        and cell.picture
        and not cell.trigger_off
        and cell.strength > 0
    )


def _grid(manifest: Manifest | None, folder: Path, step: int) -> Path | None:
    keys = {cell.key for cell in (manifest.cells if manifest else []) if cell.lora and cell.lora.step == step}
    for grid in reversed(manifest.grids if manifest else []):
        if keys & set(grid.cells.values()) and Tree(folder).is_file(grid.picture.file):
            return folder / grid.picture.file
    return None
