"""The double as the checkout, run by this Python, and a bench to train on."""

import sys

import pytest

from tests.kohya_bench import DOUBLE, make_bench


@pytest.fixture
def double(monkeypatch):
    monkeypatch.setenv("KOHYA_SD_SCRIPTS", str(DOUBLE))
    monkeypatch.setenv("KOHYA_PYTHON", sys.executable)
    return DOUBLE


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory):
    """The double's option list is asked for once a session: each answer costs an import of torch."""
    return tmp_path_factory.mktemp("kohya_cache")


@pytest.fixture
def bench(tmp_path, double, shared_cache):
    made = make_bench(tmp_path)
    made.cache_dir = shared_cache
    return made
