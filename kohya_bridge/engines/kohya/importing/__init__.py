"""Foreign configurations: presets of kohya_ss' GUI, configs of sd-scripts, and LoRA files to train like."""

from .files import import_config
from .imported import HEADER, Imported, Row

__all__ = ["HEADER", "Imported", "Row", "import_config"]
