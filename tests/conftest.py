"""Fixtures that several test files share: the one real ComfyUI of a test session."""

import pytest

from scripts.host.comfy_host import ComfyHost


@pytest.fixture(scope="session")
def comfy(tmp_path_factory):
    """A running ComfyUI with this pack in it. Its absence is a failure, not a skip: `make test` installs it."""
    host = ComfyHost(tmp_path_factory.mktemp("comfy"))
    host.start()
    yield host
    host.stop()
