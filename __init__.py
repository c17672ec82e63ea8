"""Wizdroid LoRA training: what ComfyUI loads. Importing it costs milliseconds; nodes are imported when ComfyUI asks."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """The pack's V3 extension; routes and the desk start with it."""
    from .nodes.extension import TrainingExtension

    return TrainingExtension()
