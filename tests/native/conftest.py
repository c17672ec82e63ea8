"""The native engine's test world: one base model and one dataset for the session, a fresh run folder for each test."""

import pytest

from tests.native_world import World, make_base, make_dataset


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("native") / "tiny")


@pytest.fixture(scope="session")
def tiny_sdxl(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("native") / "tiny-sdxl", family="sdxl")


@pytest.fixture(scope="session")
def dots(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("native") / "dot")


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("native") / "cache"


@pytest.fixture
def world(tmp_path, tiny_base, dots, shared_cache):
    return World(tmp_path, tiny_base, dots, shared_cache)


@pytest.fixture
def sdxl_world(tmp_path, tiny_sdxl, dots, shared_cache):
    return World(tmp_path, tiny_sdxl, dots, shared_cache, family="sdxl")
