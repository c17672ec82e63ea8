"""Wizdroid LoRA training: what ComfyUI loads. Importing it costs milliseconds; nodes are imported when ComfyUI asks."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """The pack's V3 extension; routes and the desk start with it."""
    import logging

    try:
        from .nodes.extension import start

        return start()
    except Exception:
        # ComfyUI shortens whatever happens here to one line; the traceback is worth more.
        logging.getLogger("wizdroid.training").exception("Wizdroid LoRA training could not be loaded.")
        raise
