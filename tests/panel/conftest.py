"""Fixtures of the panel's tests."""

from pathlib import Path

import pytest

from kohya_bridge.workspace import Workspace


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return Workspace.at(Path(tmp_path) / "training")
