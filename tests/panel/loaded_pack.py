"""The pack loaded as ComfyUI loads it: as a package of its own name, so that `nodes` and the core import each other relatively."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent.parent
NAME = "wizdroid_pack_under_test"


def pack_module(name: str) -> ModuleType:
    """A module of the pack, such as `nodes.routes`. Classes of it are not those of a top-level `kohya_bridge`."""
    if NAME not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            NAME, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
        )
        assert spec is not None and spec.loader is not None
        package = importlib.util.module_from_spec(spec)
        sys.modules[NAME] = package
        spec.loader.exec_module(package)
    return importlib.import_module(f"{NAME}.{name}")
