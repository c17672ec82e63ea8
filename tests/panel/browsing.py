"""Debian's Chromium, driven by Playwright: the browser of the panel's tests and screenshots.

The fixtures are taken up by `tests/conftest.py`. Without Chromium the tests that need it are skipped, and say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from scripts.programs import PROGRAMS

CHROMIUM = PROGRAMS["chromium"].find()
SLOW_MACHINE_MS = (
    60_000  # what a page may take on a machine that does much else; nobody waits that long on a quick one
)


@contextmanager
def launched_chromium() -> Iterator[Any]:
    """A headless browser that ends with the block."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=SLOW_MACHINE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        pytest.skip(
            "Chromium is not installed (apt-get install chromium): the panel is not shown in a browser"
        )
    with launched_chromium() as chromium:
        yield chromium


@pytest.fixture
def new_page(browser):
    """Makes pages; the test fails if any of them met an error of the panel's scripts."""
    contexts, errors = [], []

    def make(**options):
        context = browser.new_context(**{"viewport": {"width": 460, "height": 900}, **options})
        context.set_default_timeout(SLOW_MACHINE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(f"{error.name}: {error.message}\n{error.stack}"))
        return page

    yield make
    for context in contexts:
        context.close()
    assert not [error for error in errors if "wizdroid-lora-training" in error], errors
