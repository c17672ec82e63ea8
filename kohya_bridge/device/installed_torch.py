"""Which torch an interpreter has, without importing it: torch writes what it was built for into `torch/version.py`.

In: an interpreter. Out: a `TorchBuild`, or None where no torch is found by looking. Standard library only.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

PLACES = ("lib/python*/site-packages", "Lib/site-packages")


@dataclass(frozen=True)
class TorchBuild:
    """What a torch was built for: versions of CUDA, ROCm's HIP and Intel's compiler, or none of them."""

    version: str
    cuda: str | None = None
    hip: str | None = None
    xpu: str | None = None


def torch_build(interpreter: Path | None = None) -> TorchBuild | None:
    """The torch of that interpreter, by default of this one."""
    file = _own_file() if interpreter is None else _file_beside(interpreter)
    if file is None:
        return None
    try:
        told = _assigned(file.read_text("utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None
    version = told.get("__version__")
    return TorchBuild(version, told.get("cuda"), told.get("hip"), told.get("xpu")) if version else None


def _own_file() -> Path | None:
    try:
        spec = importlib.util.find_spec("torch")
    except ValueError:  # something put a module without a spec in its place
        return None
    file = Path(spec.origin).with_name("version.py") if spec and spec.origin else None
    return file if file and file.is_file() else None


def _file_beside(interpreter: Path) -> Path | None:
    """In the virtual environment (or conda environment) that an interpreter belongs to. Its path may be a link and is taken as
    it is: the link is what makes the environment."""
    if interpreter.absolute() == Path(sys.executable).absolute():
        return _own_file()
    roots = (interpreter.parent.parent, interpreter.parent)
    files = (file for root in roots for place in PLACES for file in root.glob(f"{place}/torch/version.py"))
    return next(files, None)


def _assigned(source: str) -> dict[str, str]:
    """Names and texts that a module assigns at its top."""
    found = {}
    for node in ast.parse(source).body:
        targets = (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign)
            else []
        )
        value = getattr(node, "value", None)
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            found.update({each.id: value.value for each in targets if isinstance(each, ast.Name)})
    return found
