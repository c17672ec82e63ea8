"""Freezing the dataset of a LoRA that is published: what was trained on must be known as long as the LoRA is around.

In: a plan and the workspace. Out: a `published` version in the dataset's lock file, which nothing replaces; lint then says
when pictures or captions drift from it.
"""

from __future__ import annotations

from ..dataset import dataset_digest, read_dataset
from ..datasets.dataset_lock import snapshot, take_version
from ..errors import Refused
from ..plan import TrainingPlan
from ..workspace import Workspace


def refuse_drift(plan: TrainingPlan, workspace: Workspace) -> None:
    """Raise Refused unless the dataset is, to the byte, the one that was trained on. NotFound if it is gone."""
    dataset = read_dataset(workspace.dataset_dir(plan.dataset.slug))
    if dataset_digest(dataset, cache_dir=workspace.cache_dir) != plan.dataset.digest:
        raise Refused(
            f"Dataset {plan.dataset.slug} has changed since this LoRA was trained, so its version can't be frozen.",
            "Bring the pictures and captions back, or train again; without `published` it can be packaged as it is.",
        )


def freeze_dataset(plan: TrainingPlan, workspace: Workspace, *, name: str) -> None:
    """Take the dataset down as published by the LoRA `name`. Doing so again changes nothing."""
    dataset = read_dataset(workspace.dataset_dir(plan.dataset.slug))
    take_version(dataset, snapshot(dataset, reason="published", name=name, cache_dir=workspace.cache_dir))
