"""The pack's V3 extension: the one list of its nodes, and what starts with them."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import gpu_lending, host, routes, training_desk
from .caption_export_node import CaptionExportNode
from .character_prompt_node import CharacterPromptNode
from .dataset_lint_node import DatasetLintNode
from .kohya_model_files_node import KohyaModelFilesNode
from .kohya_train_node import KohyaTrainNode
from .load_trained_lora_node import LoadTrainedLoraNode
from .lora_validate_grid_node import LoraValidateGridNode
from .package_lora_node import PackageLoraNode
from .training_run_node import TrainingRunNode
from .training_settings_node import TrainingSettingsNode

NODES: list[type[io.ComfyNode]] = [
    CharacterPromptNode,
    CaptionExportNode,
    DatasetLintNode,
    TrainingSettingsNode,
    KohyaModelFilesNode,
    KohyaTrainNode,
    TrainingRunNode,
    LoraValidateGridNode,
    PackageLoraNode,
    LoadTrainedLoraNode,
]


class TrainingExtension(ComfyExtension):
    """What ComfyUI asks for the pack's nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES


def start() -> TrainingExtension:
    """The extension, with routes and desk begun. Called once, while ComfyUI loads its packs."""
    from server import PromptServer

    desk = training_desk.DeskWhenAsked()
    routes.add_routes(PromptServer.instance.routes, desk, host, agreed=training_desk.agreed)
    host.add_middleware(gpu_lending.make_room)
    host.on_server_start(training_desk.begin)
    return TrainingExtension()
