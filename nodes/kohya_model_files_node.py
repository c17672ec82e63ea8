"""Kohya Model Files: the text encoders and VAEs that newer families need beside their transformer."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..kohya_bridge.architectures import ARCHITECTURES
from ..kohya_bridge.architectures.base import ModelFile
from . import host
from .edge import plainly
from .sockets import SETTINGS, ChosenSettings

AUTO = "(the one that fits)"


class KohyaModelFilesNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WizdroidKohyaModelFiles",
            display_name="Kohya Model Files",
            category="Wizdroid/Training",
            description="Names the text encoders and VAE of a newer family, for whichever engine trains it. Needed only where a folder has several that fit.",
            inputs=[
                *(_input(option, uses) for option, uses in options_of_families().items()),
                SETTINGS.Input(
                    "training_settings", optional=True, tooltip="Training Settings to pass on with the files."
                ),
            ],
            outputs=[SETTINGS.Output(id="settings", display_name="settings", tooltip="For Kohya Train.")],
        )

    @classmethod
    @plainly
    def execute(cls, training_settings: ChosenSettings | None = None, **chosen: Any) -> io.NodeOutput:
        files = {option: name for option, name in chosen.items() if name and name != AUTO}
        before = training_settings or ChosenSettings()
        return io.NodeOutput(ChosenSettings(dict(before.settings), dict(before.kohya), files))


def options_of_families() -> dict[str, list[tuple[str, ModelFile]]]:
    """Every name of a model file, with the families (by title) that take it and what it is for them."""
    found: dict[str, list[tuple[str, ModelFile]]] = {}
    for each in ARCHITECTURES.values():
        for file in each.model_files:
            found.setdefault(file.option, []).append((each.title, file))
    return found


def _input(option: str, uses: list[tuple[str, ModelFile]]) -> Any:
    folders = dict.fromkeys(file.folder for _, file in uses)
    names = dict.fromkeys(name for folder in folders for name in host.model_names(folder))
    kinds: dict[str, list[str]] = {}
    for title, file in uses:
        kinds.setdefault(file.title, []).append(title)
    told = "; ".join(f"{kind} for {', '.join(titles)}" for kind, titles in kinds.items())
    return io.Combo.Input(
        option,
        options=[AUTO, *names],
        default=AUTO,
        tooltip=f"{told}. From ComfyUI's {' and '.join(folders)} folder.",
    )
