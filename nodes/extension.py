"""The pack's V3 extension: the one list of its nodes."""

from comfy_api.latest import ComfyExtension, io


class TrainingExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return []
