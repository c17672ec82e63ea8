"""A browser for the panel's tests. Without Chromium they are skipped, and say so."""

import os
import shutil
from pathlib import Path

import pytest

from kohya_bridge.workspace import Workspace

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
SLOW_MACHINE_MS = 20_000


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        pytest.skip(
            "Chromium is not installed (apt-get install chromium): the panel is not shown in a browser"
        )
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield chromium
        chromium.close()


@pytest.fixture
def new_page(browser):
    """Makes pages; the test fails if any of them met an error of its own scripts."""
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
    assert not [error for error in errors if "wizdroid" in error.lower() or "/js/" in error], errors


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return Workspace.at(Path(tmp_path) / "training")
