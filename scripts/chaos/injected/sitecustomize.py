"""Loaded by every Python that starts with this folder on its path; see `durable.py`."""

import importlib.util
import pathlib
import sys


def _load():
    file = pathlib.Path(__file__).parents[1] / "durable.py"
    spec = importlib.util.spec_from_file_location("chaos_durable", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules["chaos_durable"] = module
    spec.loader.exec_module(module)
    return module


_load().install_from_environment()
