"""Fixtures that several test files share: the one real ComfyUI of a test session."""

import pytest

from scripts.host.comfy_host import ComfyHost
from tests.panel.browsing import browser, new_page  # noqa: F401  fixtures


@pytest.fixture(scope="session")
def comfy(tmp_path_factory):
    """A running ComfyUI with this pack in it. Its absence is a failure, not a skip: `make test` installs it."""
    host = ComfyHost(tmp_path_factory.mktemp("comfy"))
    host.start()
    yield host
    host.stop()


@pytest.fixture(scope="session")
def sd15_file(tmp_path_factory):
    """A tiny SD 1.5 checkpoint in LDM layout."""
    from tests.bases import make_tiny_base

    return make_tiny_base(tmp_path_factory.mktemp("sd15"), "sd15")


@pytest.fixture(scope="session")
def sdxl_file(tmp_path_factory):
    """A tiny SDXL checkpoint in SGM layout, with both text encoders."""
    from tests.bases import make_tiny_base

    return make_tiny_base(tmp_path_factory.mktemp("sdxl"), "sdxl")
