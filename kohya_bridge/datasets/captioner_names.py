"""Which captioners a person can choose: a vision model of Ollama, or a model folder in the workspace's `captioners/`.

In: the workspace. Out: names. Nothing of a model is loaded here: drop-downs ask for this whenever a page is opened.
"""

from __future__ import annotations

from pathlib import Path

from ..workspace import Workspace

OLLAMA = "ollama"


def captioners_dir(workspace: Workspace) -> Path:
    return workspace.root / "captioners"


def local_captioners(workspace: Workspace) -> list[str]:
    """Names of the model folders."""
    folder = captioners_dir(workspace)
    return sorted(each.name for each in folder.iterdir() if each.is_dir()) if folder.is_dir() else []
