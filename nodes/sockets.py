"""What travels along the pack's own wires: names, never paths, and never open files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from comfy_api.latest import io

DATASET = io.Custom("WIZDROID_DATASET")
RUN = io.Custom("WIZDROID_RUN")
SETTINGS = io.Custom("WIZDROID_SETTINGS")


@dataclass(frozen=True)
class DatasetName:
    """A dataset of the workspace."""

    slug: str


@dataclass(frozen=True)
class RunName:
    """A run of the workspace."""

    run_id: str
    slug: str


@dataclass(frozen=True)
class ChosenSettings:
    """Values of `TrainingSettings` that replace the preset's, further options for sd-scripts, and model files by option."""

    settings: dict[str, Any] = field(default_factory=dict)
    kohya: dict[str, Any] = field(default_factory=dict)
    model_files: dict[str, str] = field(default_factory=dict)


class FitsAnyList(str):
    """A socket type that ComfyUI's validation takes for any drop-down's.

    LoraLoader's `lora_name` is a Python list there and `"COMBO" != [...]`, so a plain COMBO output is refused
    (Comfy-Org/ComfyUI #10573); a type that is never unequal passes, and the page still draws the wire to drop-downs only.
    """

    __hash__ = str.__hash__

    def __ne__(self, other: object) -> bool:
        return False


LORA_NAME = io.Custom("COMBO")
LORA_NAME.io_type = FitsAnyList(
    "COMBO"
)  # after the fact: Custom() turns what it is given into its own kind of string
