"""For the path of a test's ComfyUI, and so of every Python that it starts, trainers too: `comfy.sd`, once it is imported, builds a
reduced family where a model file names one (`small_files.py`). Files without such a mark are read as ever.
"""

import importlib
import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
NAME = "reduced_models"
"""Of `tests/host_models` here: ComfyUI has a package `tests` of its own."""


def reduced_models(module):
    """A module of `tests/host_models`."""
    if NAME not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            NAME, HOME / "__init__.py", submodule_search_locations=[str(HOME)]
        )
        sys.modules[NAME] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[NAME])
    return importlib.import_module(f"{NAME}.{module}")


class TaughtWhenImported:
    """Finds `comfy.sd` as ever, and teaches it when it has been executed."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "comfy.sd":
            return None
        spec = PathFinder.find_spec(name, path, target)
        execute = spec.loader.exec_module

        def taught(module):
            execute(module)
            reduced_models("small_files").teach(reduced_models("reduced"))

        spec.loader.exec_module = taught
        return spec


sys.meta_path.insert(0, TaughtWhenImported)
