"""The double as the checkout, run by this Python, and a bench to train on."""

import sys

import pytest

from tests.kohya_bench import DOUBLE, make_bench


@pytest.fixture
def double(monkeypatch):
    monkeypatch.setenv("KOHYA_SD_SCRIPTS", str(DOUBLE))
    monkeypatch.setenv("KOHYA_PYTHON", sys.executable)
    return DOUBLE


@pytest.fixture
def bench(tmp_path, double):
    return make_bench(tmp_path)
